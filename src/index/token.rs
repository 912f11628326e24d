//! The secrets of share links, which are shown only where they are asked for.

use std::fmt;

use serde::{Serialize, Serializer};

/// The most characters of a token that are shown.
const SHOWN: usize = 6;

/// Returns the beginning of a token, by which its owner knows it again: at most a quarter of it, and at most six characters.
pub(super) fn masked(token: &str) -> String {
    let shown = (token.chars().count() / 4).min(SHOWN);
    format!("{}…", token.chars().take(shown).collect::<String>())
}

/// The secret that opens a share link. It is masked wherever it is printed, written or serialised, except by
/// [`Token::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Returns the secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&masked(&self.0), to)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&masked(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_token_is_no_secret() {
        for (token, shown) in [
            ("", "…"),
            ("abc", "…"),
            ("demo-beach", "de…"),
            ("0123456789abcdef0123", "01234…"),
            (&"é".repeat(64), "éééééé…"),
        ] {
            assert_eq!(masked(token), shown);
        }
    }

    #[test]
    fn a_token_is_masked_wherever_it_is_written() {
        let token = Token::from("0123456789abcdef0123456789abcdef");
        assert_eq!(format!("{token}"), "012345…");
        assert_eq!(format!("{token:?}"), "\"012345…\"");
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"012345…\"");
        assert_eq!(token.reveal(), "0123456789abcdef0123456789abcdef");
    }
}
