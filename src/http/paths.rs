//! Messages without paths of a disk: of this server's, or of one where another program has worked on the same index.

/// What stands for a path.
const HIDDEN: &str = "(path)";

/// Returns `message` without paths: absolute ones in quotation marks, words that begin with a slash, and whatever is quoted
/// as a storage or a database, unless it is one that is reached over a network.
pub(super) fn without_paths(message: &str) -> String {
    let mut parts = quoted(message).peekable();
    let mut told = String::with_capacity(message.len());
    let (mut within, mut is_place) = (false, false);
    while let Some(part) = parts.next() {
        // A quotation mark that nothing closes opens nothing.
        let closed = parts.peek().is_some();
        if within && closed {
            let is_path = part.starts_with('/') || part.starts_with("file:/") || part.starts_with("sqlite:/");
            told += if is_path || (is_place && !is_elsewhere(part)) { HIDDEN } else { part };
        } else {
            is_place = part.ends_with("storage ") || part.ends_with("database ");
            part.split_inclusive(char::is_whitespace).for_each(|word| hide(word, &mut told));
        }
        if closed {
            told.push('"');
        }
        within = !within;
    }
    told
}

/// Tells whether a place is none on a disk, by its scheme.
fn is_elsewhere(place: &str) -> bool {
    place.split_once("://").is_some_and(|(scheme, _)| {
        !["", "file", "sqlite"].contains(&scheme)
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Splits at the quotation marks that are not escaped.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    message.split(move |c: char| {
        let is_mark = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_mark
    })
}

fn hide(word: &str, told: &mut String) {
    let bare = word.trim_start_matches(['(', '[', '\'', '`']);
    let end = bare.find(|c: char| c.is_whitespace() || ":,;)]'`".contains(c)).unwrap_or(bare.len());
    let is_path = bare.strip_prefix('/').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric()));
    if is_path {
        told.push_str(&word[..word.len() - bare.len()]);
        told.push_str(HIDDEN);
        told.push_str(&bare[end..]);
    } else {
        told.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_absolute_path_is_left() {
        for (message, want) in [
            ("storage \"/srv/my files\" does not exist", "storage \"(path)\" does not exist"),
            ("storage \"file:///srv/a\": odd", "storage \"(path)\": odd"),
            ("/srv/files/1/x: Input/output error (os error 5)", "(path): Input/output error (os error 5)"),
            ("Unable to open file /srv/x: denied", "Unable to open file (path): denied"),
            ("see (/srv/x) or '/srv/y', please", "see ((path)) or '(path)', please"),
            ("the key \"a /b\" and \"q\\\" /c\" stay", "the key \"a /b\" and \"q\\\" /c\" stay"),
            ("1/a/b: denied, 50 / 100, s3://bucket/x", "1/a/b: denied, 50 / 100, s3://bucket/x"),
            ("an open \" and /srv/x", "an open \" and (path)"),
            ("storage \"../x/nope\" does not exist", "storage \"(path)\" does not exist"),
            ("storage \"secret place/x\" is a file", "storage \"(path)\" is a file"),
            ("database \"sqlite:x.db?mode=rwc\": odd", "database \"(path)\": odd"),
            ("the directory of database \"./x\" cannot be made", "the directory of database \"(path)\" cannot be made"),
            (
                "storage \"s3://b/x\": no, database \"postgres://h/d\": no",
                "storage \"s3://b/x\": no, database \"postgres://h/d\": no",
            ),
            ("the key \"a/b\" of the storage", "the key \"a/b\" of the storage"),
            ("", ""),
        ] {
            assert_eq!(without_paths(message), want);
        }
    }
}
