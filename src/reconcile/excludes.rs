//! Patterns of paths that a run leaves out, in the storage and in the index alike.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::request::RequestError;

/// What systems and programs leave behind, and nobody wants to have indexed.
const NOISE: [&str; 4] = [".DS_Store", "@eaDir/", "Thumbs.db", "lost+found/"];

/// Patterns of paths, of which one that matches is enough.
///
/// A pattern without a slash at its front matches at any depth, one with it from the top of the user's prefix; what lies
/// below a match is excluded as well; a slash at the end stands for a folder alone. `*` and `?` (one byte) stay within a
/// segment, `**` does not.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    patterns: Vec<String>,
    /// Matches paths of files.
    set: GlobSet,
    /// Matches paths of folders of which nothing is left.
    folders: GlobSet,
}

/// Tells whether the folder `name` at the top of a storage is hidden, or one of those that systems and programs make for
/// themselves: it is never a user's.
pub(super) fn is_noise(name: &str) -> bool {
    name.starts_with('.') || NOISE.iter().any(|noise| noise.strip_suffix('/').is_some_and(|folder| name == folder))
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
        let (mut set, mut folders) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in &patterns {
            let bad = |why: String| RequestError::BadExclude(pattern.clone(), why);
            if pattern.chars().all(|c| matches!(c, '*' | '/')) {
                return Err(bad("it would leave everything out".to_owned()));
            }
            for (glob, of_files, of_folders) in globs(pattern) {
                let built = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
                let built = built.map_err(|error| bad(error.kind().to_string()))?;
                if of_files {
                    set.add(built.clone());
                }
                if of_folders {
                    folders.add(built);
                }
            }
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| RequestError::BadExclude(patterns.join(" "), error.to_string()))
        };
        let (set, folders) = (build(set)?, build(folders)?);
        Ok(Self { patterns, set, folders })
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

    /// Tells whether all that lies in the folder `path` is left out, whatever its name is.
    pub fn match_folder(&self, path: &str) -> bool {
        !self.patterns.is_empty() && self.folders.is_match(path)
    }
}

/// Writes a pattern in globs that match whole paths: of files, of folders, or of both.
fn globs(pattern: &str) -> Vec<(String, bool, bool)> {
    let (anchored, folder) = (pattern.starts_with('/'), pattern.ends_with('/'));
    let core = pattern.trim_matches('/');
    let from = |core: &str| match anchored || core.starts_with("**/") {
        true => core.to_owned(),
        false => format!("**/{core}"),
    };
    let mut globs = vec![(from(core), !folder, true), (format!("{}/**", from(core)), true, true)];
    // All that lies in a folder is the folder.
    if let Some(all_of) = core.strip_suffix("/**") {
        globs.push((from(all_of), false, true));
    }
    globs
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
    fn a_folder_is_left_out_only_as_a_whole() {
        for (pattern, folder, want) in [
            ("????", "dir", false),
            ("????", "four", true),
            ("*[!a-z]*", "photos", false),
            ("*.tmp", "photos", false),
            ("*.tmp", "a.tmp", true),
            ("cache/", "cache", true),
            ("cache/", "deep/cache/inner", true),
            ("/cache/", "deep/cache", false),
            ("raw/**", "raw", true),
            ("raw/**", "raw/x", true),
            ("raw/**", "rawer", false),
            ("raw/**/*.nef", "raw", false),
            ("raw/*", "raw", false),
        ] {
            let excludes = Excludes::parse(vec![pattern.to_owned()]).unwrap();
            assert_eq!(excludes.match_folder(folder), want, "{pattern} {folder}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "/", "//", "*", "**", "/**/*", "[", "a{b", "[z-a]"] {
            assert!(matches!(Excludes::parse(vec![bad.to_owned()]), Err(RequestError::BadExclude(..))), "{bad:?}");
        }
    }
}
