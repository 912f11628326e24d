//! Name -> content type: listings carry none, so the name decides.

/// What a name without a known extension gets.
const UNKNOWN: &str = "application/octet-stream";

/// Returns the content type that the last segment of `path` promises, by its extension.
///
/// The table is that of `mime_guess`; a name that begins with its only dot has no extension.
pub fn content_type_of(path: &str) -> &'static str {
    let name = crate::model::name_of(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => mime_guess::from_ext(extension).first_raw().unwrap_or(UNKNOWN),
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides() {
        for (path, want) in [
            ("a/b.JPG", "image/jpeg"),
            ("report.pdf", "application/pdf"),
            ("archive.tar.gz", "application/gzip"),
            ("notes.txt", "text/plain"),
            ("dir.txt/file", UNKNOWN),
            (".txt", UNKNOWN),
            ("no-extension", UNKNOWN),
            ("x.zzzz", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(content_type_of(path), want, "{path}");
            if !path.is_empty() {
                let by_path = mime_guess::from_path(path).first_raw().unwrap_or(UNKNOWN);
                assert_eq!(content_type_of(path), by_path, "{path}");
            }
        }
    }
}
