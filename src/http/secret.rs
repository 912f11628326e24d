//! Secrets of keys: 256 random bits, shown once. What is stored is a plain hash, which is enough for a secret that nobody
//! can guess; the first characters name the key, so that its row is found without the secret.

use blake3::Hash;

/// How many characters of a secret name its key.
const PREFIX: usize = 8;

/// A secret that was just made.
#[derive(Debug)]
pub struct Secret {
    /// All of it.
    pub text: String,
    /// What names the key.
    pub prefix: String,
    /// What is stored.
    pub hash: String,
}

impl Secret {
    /// Makes one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn make() -> Result<Self, getrandom::Error> {
        let (mut name, mut bits) = ([0_u8; PREFIX / 2], [0_u8; 32]);
        getrandom::fill(&mut name)?;
        getrandom::fill(&mut bits)?;
        let prefix = hex(&name);
        let text = format!("sk_{prefix}_{}", hex(&bits));
        let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
        Ok(Self { text, prefix, hash })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns what names the key of a secret, if it can be one at all.
pub(super) fn prefix_of(secret: &str) -> Option<&str> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (prefix, rest) = secret.strip_prefix("sk_")?.split_once('_')?;
    (prefix.len() == PREFIX && rest.len() == 64 && is_hex(prefix) && is_hex(rest)).then_some(prefix)
}

/// Tells whether this is the secret of the hash, in a time that does not depend on how much of it is right.
pub(super) fn matches(secret: &str, hash: &str) -> bool {
    // The comparison of two `Hash`es takes the same time for all of them.
    Hash::from_hex(hash).is_ok_and(|hash| hash == blake3::hash(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_its_own_lock_only() {
        let (one, other) = (Secret::make().unwrap(), Secret::make().unwrap());
        assert_eq!(prefix_of(&one.text), Some(one.prefix.as_str()));
        assert_eq!(one.text.len(), 3 + 8 + 1 + 64);
        assert!(matches(&one.text, &one.hash) && !matches(&one.text, &other.hash) && !matches(&other.text, &one.hash));
        assert!(!one.hash.contains(&one.text[12..]) && !matches(&one.text, "") && !matches("", &one.hash));
        for bad in ["", "sk_", "sk_1234567_", "sk_zzzzzzzz_00", &one.text[1..], &format!("{}0", one.text)] {
            assert_eq!(prefix_of(bad), None, "{bad}");
        }
    }
}
