//! The little of XML that list answers are made of.

/// Returns the name of the outermost element, behind what may stand before it.
pub(super) fn root(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let (_, behind) = match rest {
            _ if rest.starts_with("<?") => rest.split_once("?>")?,
            _ if rest.starts_with("<!--") => rest.split_once("-->")?,
            _ => break,
        };
        rest = behind.trim_start();
    }
    let name = rest.strip_prefix('<')?.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next()?;
    Some(name).filter(|name| !name.is_empty())
}

/// Returns the text of the first element `tag`, which may have attributes, without blanks around it.
pub(super) fn text_of<'t>(text: &'t str, tag: &str) -> Option<&'t str> {
    let open = format!("<{tag}");
    let starts = memchr::memmem::find_iter(text.as_bytes(), open.as_bytes());
    starts.map(|at| &text[at + open.len()..]).find_map(|rest| {
        let (attributes, inside) = rest.split_once('>')?;
        if !attributes.is_empty() && !attributes.starts_with(|c: char| c.is_whitespace() || c == '/') {
            return None;
        }
        if attributes.ends_with('/') { Some("") } else { Some(inside.split('<').next()?.trim()) }
    })
}

/// Returns what stands in the first element `tag`, which has no attributes.
pub(super) fn inner<'t>(element: &'t str, tag: &str) -> Option<&'t str> {
    let (_, rest) = element.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

/// Resolves the five names and the numbers that XML knows without a document type.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let Some((name, tail)) = after.split_once(';') else {
            plain.push('&');
            rest = after;
            continue;
        };
        let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        match (name, number.and_then(char::from_u32)) {
            ("amp", _) => plain.push('&'),
            ("lt", _) => plain.push('<'),
            ("gt", _) => plain.push('>'),
            ("quot", _) => plain.push('"'),
            ("apos", _) => plain.push('\''),
            (_, Some(character)) => plain.push(character),
            _ => {
                plain.push('&');
                rest = after;
                continue;
            }
        }
        rest = tail;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_element_is_found_behind_what_may_stand_before_it() {
        for (text, want) in [
            ("<a/>", Some("a")),
            ("<a>", Some("a")),
            ("\u{feff}<?xml version=\"1.0\"?>\n<!-- <b> -->\n <a xmlns=\"x\">", Some("a")),
            ("<s3:a xmlns:s3=\"x\">", Some("s3:a")),
            ("<!DOCTYPE html><html>", Some("!DOCTYPE")),
            ("", None),
            (" \n", None),
            ("{}", None),
            ("<?xml", None),
            ("<", None),
        ] {
            assert_eq!(root(text), want, "{text:?}");
        }
    }

    #[test]
    fn an_element_is_found_by_its_whole_name() {
        let text = "<ab>1</ab><a x='y'> 2 </a><a>3</a><b/><c />";
        for (tag, want) in [("a", Some("2")), ("ab", Some("1")), ("b", Some("")), ("c", Some("")), ("d", None)] {
            assert_eq!(text_of(text, tag), want, "{tag}");
        }
    }

    #[test]
    fn xml_text_is_resolved() {
        for (text, want) in
            [("&lt;&gt;&quot;&apos;&amp;", "<>\"'&"), ("&#65;&#x42;", "AB"), ("&nope; & b", "&nope; & b"), ("", "")]
        {
            assert_eq!(unescape(text), want);
        }
    }
}
