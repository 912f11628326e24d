//! Where a listing went back: whatever was passed there without an object may have one after all.

/// How many spans are told apart.
const MOST: usize = 1_000;

/// Spans of keys, both ends included.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<(String, String)>);

impl Spans {
    /// Adds the span from `from` to `to`.
    pub(super) fn add(&mut self, from: &str, to: &str) {
        // The next one mostly begins or ends where the last one does.
        match self.0.last_mut() {
            Some(last) if from <= last.1.as_str() && to >= last.0.as_str() => widen(last, from, to),
            _ => self.0.push((from.to_owned(), to.to_owned())),
        }
        if self.0.len() > MOST {
            let mut all = self.0.swap_remove(0);
            self.0.drain(..).for_each(|(from, to)| widen(&mut all, &from, &to));
            self.0.push(all);
        }
    }

    /// Tells whether `key` lies in a span.
    pub(super) fn cover(&self, key: &str) -> bool {
        self.0.iter().any(|(from, to)| from.as_str() <= key && key <= to.as_str())
    }
}

fn widen(span: &mut (String, String), from: &str, to: &str) {
    if from < span.0.as_str() {
        from.clone_into(&mut span.0);
    }
    if to > span.1.as_str() {
        to.clone_into(&mut span.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_what_lies_between_their_ends() {
        let mut spans = Spans::default();
        assert!(!spans.cover("a"));
        spans.add("c", "e");
        spans.add("d", "g");
        spans.add("m", "m");
        for (key, want) in
            [("b", false), ("c", true), ("f", true), ("g", true), ("h", false), ("m", true), ("n", false)]
        {
            assert_eq!(spans.cover(key), want, "{key}");
        }
        for n in 0..2_000 {
            spans.add(&format!("x{n:04}"), &format!("x{n:04}"));
        }
        assert!(spans.cover("d") && spans.cover("x0000") && spans.cover("x1999"));
        assert!(spans.0.len() <= MOST && !spans.cover("b") && !spans.cover("y"));
    }
}
