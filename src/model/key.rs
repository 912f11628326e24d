//! Keys: the names of objects, ordered by their bytes, with `/` between segments.

/// Names the folder at the top of a storage that belongs to storm-index itself and is never indexed.
pub const RESERVED_FOLDER: &str = ".storm-index";

/// Tells whether `key` lies in the folder that belongs to storm-index itself.
pub fn is_reserved(key: &str) -> bool {
    key.strip_prefix(RESERVED_FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the last segment of `path`.
pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Returns what stands before the last segment of `path`: `''` at the top.
pub fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_parent_and_its_name() {
        for (path, parent, name) in
            [("a", "", "a"), ("a/b", "a", "b"), ("a/b/c.txt", "a/b", "c.txt"), ("é/ü", "é", "ü")]
        {
            assert_eq!((parent_of(path), name_of(path)), (parent, name));
        }
    }

    #[test]
    fn only_the_folder_at_the_top_is_reserved() {
        assert!(is_reserved(".storm-index/identity.json"));
        for key in [".storm-index", ".storm-index2/x", "a/.storm-index/x", ""] {
            assert!(!is_reserved(key), "{key}");
        }
    }
}
