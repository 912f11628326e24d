//! Names that differ by case or by Unicode normalisation alone.

use unicode_normalization::UnicodeNormalization as _;

/// Tells whether two names are the same but for case and normalisation.
pub(super) fn is_same_but_for_spelling(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

/// Puts the spellings of one name beside each other.
pub(super) fn sort_by_spelling(names: &mut [String]) {
    names.sort_by_cached_key(|name| folded(name).collect::<String>());
}

/// Returns all spellings of `name` among `names`, which are sorted by [`sort_by_spelling`].
pub(super) fn spellings_of<'n>(names: &'n [String], name: &str) -> &'n [String] {
    let from = names.partition_point(|other| folded(other).lt(folded(name)));
    let count = names[from..].iter().take_while(|other| is_same_but_for_spelling(other, name)).count();
    &names[from..from + count]
}

/// Returns a name without what case and normalisation make of it: through capitals, so that `ß` is `ss`.
fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    name.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfd()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_normalisation_alone_make_another_spelling() {
        for (one, other, same) in [
            ("PIter.2023", "Piter.2023", true),
            ("a", "a", true),
            ("caf\u{e9}", "cafe\u{301}", true),
            ("CAF\u{c9}", "cafe\u{301}", true),
            ("stra\u{df}e", "STRASSE", true),
            ("\u{3a3}", "\u{3c2}", true),
            ("a", "b", false),
            ("a", "aa", false),
            ("cafe", "caf\u{e9}", false),
            ("\u{ff21}", "A", false),
            ("", "a", false),
        ] {
            assert_eq!(is_same_but_for_spelling(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn all_spellings_of_a_name_are_found() {
        let mut names: Vec<String> = ["b", "CAFE\u{301}", "z", "A", "caf\u{e9}", "a", "cafe"].map(str::to_owned).into();
        sort_by_spelling(&mut names);
        for (name, want) in [
            ("Caf\u{e9}", &["CAFE\u{301}", "caf\u{e9}"][..]),
            ("a", &["A", "a"]),
            ("Z", &["z"]),
            ("cafe", &["cafe"]),
            ("caff", &[]),
        ] {
            assert_eq!(spellings_of(&names, name), want, "{name}");
        }
    }
}
