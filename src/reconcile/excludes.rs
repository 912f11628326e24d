//! Patterns of paths that a run leaves out, in the storage and in the index alike.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::request::RequestError;

/// What systems and programs leave behind, and nobody wants to have indexed.
const NOISE: [&str; 4] = [".DS_Store", "@eaDir/", "Thumbs.db", "lost+found/"];

/// Patterns of paths, of which one that matches is enough.
///
/// A pattern without a slash at its front matches at any depth, one with it from the top of the user's prefix; what lies
/// below a match is excluded as well; a slash at the end stands for a folder alone. `*` and `?` stay within a segment,
/// `**` does not.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    patterns: Vec<String>,
    set: GlobSet,
}

impl PartialEq for Excludes {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Excludes {}

impl Excludes {
    /// Reads patterns.
    ///
    /// # Errors
    /// Names the first one that is none.
    pub fn parse(patterns: Vec<String>) -> Result<Self, RequestError> {
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            for glob in globs(pattern) {
                let built = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
                set.add(built.map_err(|error| RequestError::BadExclude(pattern.clone(), error.kind().to_string()))?);
            }
            if pattern.trim_matches('/').is_empty() {
                return Err(RequestError::BadExclude(pattern.clone(), "it would leave everything out".to_owned()));
            }
        }
        let set = set.build().map_err(|error| RequestError::BadExclude(patterns.join(" "), error.to_string()))?;
        Ok(Self { patterns, set })
    }

    /// Adds the patterns of what systems and programs leave behind.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn with_noise(mut self) -> Result<Self, RequestError> {
        self.patterns.extend(NOISE.map(str::to_owned));
        Self::parse(self.patterns)
    }

    /// Returns the patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Tells whether `path` is left out.
    pub fn matches(&self, path: &str) -> bool {
        !self.patterns.is_empty() && self.set.is_match(path)
    }

    /// Tells whether all that lies in the folder `path` is left out.
    pub fn match_folder(&self, path: &str) -> bool {
        // Whatever its name is.
        !self.patterns.is_empty() && self.set.is_match(format!("{path}/\u{10ffff}"))
    }
}

/// Writes a pattern in globs that match whole paths.
fn globs(pattern: &str) -> Vec<String> {
    let (anchored, folder) = (pattern.starts_with('/'), pattern.ends_with('/'));
    let core = pattern.trim_matches('/');
    let from = if anchored || core.starts_with("**/") { core.to_owned() } else { format!("**/{core}") };
    let below = format!("{from}/**");
    if folder { vec![below] } else { vec![from, below] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_patterns() {
        for (pattern, path, want) in [
            ("*.tmp", "a.tmp", true),
            ("*.tmp", "deep/er/a.tmp", true),
            ("*.tmp", "a.tmp.txt", false),
            ("*.tmp", "folder.tmp/inside", true),
            ("/a", "a", true),
            ("/a", "a/b", true),
            ("/a", "b/a", false),
            ("cache/", "cache", false),
            ("cache/", "cache/x", true),
            ("cache/", "deep/cache/x/y", true),
            ("cache/", "mycache/x", false),
            ("x/*.log", "x/a.log", true),
            ("x/*.log", "y/x/a.log", true),
            ("x/*.log", "x/y/a.log", false),
            ("x/**/z", "x/z", true),
            ("x/**/z", "x/1/2/z", true),
            ("**/raw", "raw", true),
            ("img?.{png,jpg}", "a/img1.jpg", true),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("\u{e9}*", "\u{e9}t\u{e9}", true),
            ("*.TMP", "a.tmp", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
        ] {
            let excludes = Excludes::parse(vec![pattern.to_owned()]).unwrap();
            assert_eq!(excludes.matches(path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn noise_is_left_out_only_when_it_is_asked_for() {
        let noise = Excludes::default().with_noise().unwrap();
        for path in [".DS_Store", "a/.DS_Store", "a/@eaDir/x", "Thumbs.db", "lost+found/#123"] {
            assert!(noise.matches(path), "{path}");
            assert!(!Excludes::default().matches(path), "{path}");
        }
        assert!(!noise.matches("DS_Store") && !noise.matches("lost+found"));
        assert!(noise.match_folder("lost+found") && noise.match_folder("x/@eaDir") && !noise.match_folder("x"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "/", "//", "[", "a{b", "[z-a]"] {
            assert!(matches!(Excludes::parse(vec![bad.to_owned()]), Err(RequestError::BadExclude(..))), "{bad:?}");
        }
    }
}
