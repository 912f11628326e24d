//! Where a listing went back: whatever was passed there without an object may have one after all.

use crate::storage::Span;

/// How many spans are told apart.
const MOST: usize = 1_000;

/// Spans of keys, both ends included.
#[derive(Debug, Default)]
pub(super) struct Spans {
    closed: Vec<(String, String)>,
    /// Where the one begins that is open to the end.
    open: Option<String>,
}

impl Spans {
    /// Adds a span.
    pub(super) fn add(&mut self, span: &Span) {
        let Span { from, to: Some(to) } = span else {
            // The least of them hides what all of them hide.
            if self.open.as_ref().is_none_or(|open| span.from < *open) {
                self.open = Some(span.from.clone());
            }
            return;
        };
        // The next one mostly begins or ends where the last one does.
        match self.closed.last_mut() {
            Some(last) if *from <= last.1 && *to >= last.0 => widen(last, from, to),
            _ => self.closed.push((from.clone(), to.clone())),
        }
        if self.closed.len() > MOST {
            let mut all = self.closed.swap_remove(0);
            self.closed.drain(..).for_each(|(from, to)| widen(&mut all, &from, &to));
            self.closed.push(all);
        }
    }

    /// Tells whether `key` lies in a span.
    pub(super) fn cover(&self, key: &str) -> bool {
        self.open.as_deref().is_some_and(|from| from <= key)
            || self.closed.iter().any(|(from, to)| from.as_str() <= key && key <= to.as_str())
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

    fn span(from: impl Into<String>, to: &str) -> Span {
        Span { from: from.into(), to: Some(to.to_owned()) }
    }

    #[test]
    fn spans_cover_what_lies_between_their_ends() {
        let mut spans = Spans::default();
        assert!(!spans.cover("a"));
        spans.add(&span("c", "e"));
        spans.add(&span("d", "g"));
        spans.add(&span("m", "m"));
        for (key, want) in
            [("b", false), ("c", true), ("f", true), ("g", true), ("h", false), ("m", true), ("n", false)]
        {
            assert_eq!(spans.cover(key), want, "{key}");
        }
        for n in 0..2_000 {
            let key = format!("x{n:04}");
            spans.add(&span(key.clone(), &key));
        }
        assert!(spans.cover("d") && spans.cover("x0000") && spans.cover("x1999"));
        assert!(spans.closed.len() <= MOST && !spans.cover("b") && !spans.cover("y"));
    }

    #[test]
    fn an_open_span_covers_all_behind_its_beginning() {
        let mut spans = Spans::default();
        for from in ["m", "k", "x"] {
            spans.add(&Span { from: from.to_owned(), to: None });
        }
        for (key, want) in [("a", false), ("j", false), ("k", true), ("l", true), ("zzz", true)] {
            assert_eq!(spans.cover(key), want, "{key}");
        }
    }
}
