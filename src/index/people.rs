//! What people made, as lines of a file: users, share links and keys, each by what it means to people (prefix, path, token) and
//! never by the ids of records, which another index gives anew.
//!
//! One JSON object a line, each with its `kind`; the first line says what the file is and how many lines of each kind it
//! has, so that one that was cut off is noticed. What a newer version has added is told, never swallowed: a further kind
//! needs a variant of [`Line`] and an arm in [`parse`].

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::token::masked;
use crate::model::{HIGHEST_USER_ID, Timestamp, UserId};

/// The version of the format that is written.
pub const EXPORT_VERSION: u64 = 1;

/// The longest line that is read, in bytes: several times what the longest path comes to.
const LONGEST_LINE: usize = 1 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub version: u64,
    /// How many lines of each kind follow.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// When it was written.
    #[serde(default)]
    pub created_at: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLine {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The prefix.
    pub prefix: String,
    /// When the user was registered.
    pub created_at: String,
}

/// A share link, active or dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLine {
    /// Whose file it opens, by the id of the user's line.
    pub user_id: UserId,
    /// The name of that user.
    pub user: String,
    /// The path below that user's prefix.
    pub path: String,
    /// The secret.
    pub token: String,
    /// Whether it has not been revoked.
    pub is_active: bool,
    /// When it ends, if ever.
    pub expires_at: Option<String>,
    /// When it was made.
    pub created_at: String,
}

/// A key to the API, by the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLine {
    /// Whose it is, by the id of the user's line.
    pub user_id: UserId,
    /// The name of that user.
    pub user: String,
    /// What people call it.
    pub name: String,
    /// What its secret begins with.
    pub prefix: String,
    /// The hash of its secret.
    pub hash: String,
    /// Whether it opens everything.
    pub is_admin: bool,
    /// When it was made.
    pub created_at: String,
    /// When it ends, if ever.
    pub expires_at: Option<String>,
    /// When it was ended, if it was.
    pub revoked_at: Option<String>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    #[serde(rename = "storm_index_export")]
    Header(Header),
    /// A user.
    User(UserLine),
    /// A share link.
    ShareLink(LinkLine),
    /// A key to the API.
    ApiKey(KeyLine),
}

/// Something that an export or an import could not carry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Unkept {
    /// One stable word.
    pub code: &'static str,
    /// One line: what, why, and how to mend it.
    pub message: String,
    /// The number of the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The user, as the file numbers users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The user's name in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The path below the user's prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The first characters of the token: the whole would be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A line that was read.
#[derive(Debug)]
pub(super) enum Read {
    /// One that is known, and those of its fields that are not.
    Line(Line, Vec<String>),
    /// One of a kind that is not known.
    Unknown(String),
    /// None at all, and why.
    Broken(String),
}

/// Reads the lines of a file, each with its number, one at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    file: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, number: 0, buffer: Vec::new() }
    }

    /// Returns the next line that is not empty; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Read)>> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let limit = LONGEST_LINE as u64 + 1;
            let length = io::Read::take(&mut self.file, limit).read_until(b'\n', &mut self.buffer)?;
            if length == 0 {
                return Ok(None);
            }
            if length > LONGEST_LINE && self.buffer.last() != Some(&b'\n') {
                self.file.skip_until(b'\n')?;
                return Ok(Some((self.number, Read::Broken(format!("it is longer than {LONGEST_LINE} bytes")))));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some((self.number, parse(&self.buffer))));
            }
        }
    }
}

/// Reads a line.
fn parse(line: &[u8]) -> Read {
    let mut object: Map<String, Json> = match serde_json::from_slice(line) {
        Ok(object) => object,
        Err(error) => return Read::Broken(format!("it is no JSON object: {}", reason(&error))),
    };
    let Some(Json::String(kind)) = object.remove("kind") else { return Read::Broken("it has no \"kind\"".to_owned()) };
    match kind.as_str() {
        // What else a newer version says of the whole file does not matter to its lines.
        "storm_index_export" => known(object, None, Line::Header),
        "user" => known(object, Some(&["id", "name", "prefix", "created_at"]), Line::User).checked(),
        "share_link" => {
            let fields = ["user_id", "user", "path", "token", "is_active", "expires_at", "created_at"];
            known(object, Some(&fields), Line::ShareLink).checked()
        }
        "api_key" => {
            let fields =
                ["user_id", "user", "name", "prefix", "hash", "is_admin", "created_at", "expires_at", "revoked_at"];
            known(object, Some(&fields), Line::ApiKey).checked()
        }
        _ => Read::Unknown(kind),
    }
}

fn known<T: DeserializeOwned>(object: Map<String, Json>, fields: Option<&[&str]>, line: fn(T) -> Line) -> Read {
    let strange = object.keys().filter(|key| fields.is_some_and(|fields| !fields.contains(&key.as_str())));
    let strange = strange.cloned().collect();
    let token = match object.get("token") {
        Some(Json::String(token)) => token.clone(),
        Some(odd) => odd.to_string(),
        None => String::new(),
    };
    match serde_json::from_value(Json::Object(object)) {
        Ok(value) => Read::Line(line(value), strange),
        Err(error) => Read::Broken(without(&token, &reason(&error))),
    }
}

/// Masks the token of a line in what is wrong with the line, which may say what stands in its place.
fn without(token: &str, reason: &str) -> String {
    // In these marks stand values; a short token may be a part of any word.
    let marks = ['"', '`'].map(|mark| (format!("{mark}{token}{mark}"), format!("{mark}{}{mark}", masked(token))));
    marks.iter().fold(reason.to_owned(), |reason, (whole, shown)| reason.replace(whole, shown))
}

/// Says what is wrong without the place, which counts from the line's own beginning.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

impl Read {
    /// Sets aside what is well written and yet can stand in no index.
    fn checked(self) -> Self {
        let Self::Line(line, _) = &self else { return self };
        let (id, texts, times) = match line {
            Line::User(user) => (user.id, vec![&user.name, &user.prefix], vec![&user.created_at]),
            Line::ShareLink(link) => {
                let times = link.expires_at.iter().chain([&link.created_at]).collect();
                (link.user_id, vec![&link.user, &link.path, &link.token], times)
            }
            Line::ApiKey(key) => {
                let times = key.expires_at.iter().chain(&key.revoked_at).chain([&key.created_at]).collect();
                (key.user_id, vec![&key.user, &key.name, &key.prefix, &key.hash], times)
            }
            Line::Header(_) => return self,
        };
        if let Some(time) = times.into_iter().find(|time| Timestamp::from_text(time).is_none()) {
            return Self::Broken(format!("{time:?} is no time; write it like 2026-11-23T08:54:54+00:00"));
        }
        if !(1..=HIGHEST_USER_ID).contains(&id) {
            return Self::Broken(format!("{id} is no id that a user can have"));
        }
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Self::Broken("a text has the character U+0000, which no database takes".to_owned());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, Read)> {
        let mut lines = Lines::new(text.as_bytes());
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn link(rest: &str) -> String {
        format!(r#"{{"kind":"share_link","user_id":1,"user":"u","path":"p","token":"t",{rest}}}"#)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let odd = "it's \"odd\" \\ ü\u{202e}\u{1f980}".to_owned();
        let link = LinkLine {
            user_id: 7,
            user: odd.clone(),
            path: odd.clone(),
            token: odd,
            is_active: false,
            expires_at: Some("2026-11-23T08:54:54.000001+00:00".into()),
            created_at: "2026-11-23T08:54:54+00:00".into(),
        };
        let line = Line::ShareLink(link);
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"kind":"share_link","user_id":7,"#), "{text}");
        let Read::Line(back, strange) = parse(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((back, strange), (line, Vec::<String>::new()));
    }

    #[test]
    fn each_line_is_known_unknown_or_broken() {
        let time = "2026-11-23T08:54:54+00:00";
        let good = link(&format!(r#""is_active":true,"expires_at":null,"created_at":"{time}""#));
        assert!(matches!(parse(good.as_bytes()), Read::Line(Line::ShareLink(_), strange) if strange.is_empty()));
        let newer = link(&format!(r#""is_active":true,"expires_at":null,"created_at":"{time}","limit":3"#));
        assert!(matches!(parse(newer.as_bytes()), Read::Line(Line::ShareLink(_), strange) if strange == ["limit"]));
        assert!(matches!(parse(br#"{"kind":"web_hook","hash":"x"}"#), Read::Unknown(kind) if kind == "web_hook"));
        let user = |id: &str, name: &str| {
            format!(r#"{{"kind":"user","id":{id},"name":"{name}","prefix":"p","created_at":"{time}"}}"#)
        };
        assert!(matches!(parse(user("1", "n").as_bytes()), Read::Line(Line::User(_), _)));
        for (text, why) in [
            ("{\"kind\":\"user\"".to_owned(), "EOF"),
            ("[]".to_owned(), "no JSON object"),
            ("{\"kind\":7}".to_owned(), "kind"),
            (link("\"is_active\":true"), "created_at"),
            (link(&format!("\"is_active\":1,\"expires_at\":null,\"created_at\":\"{time}\"")), "boolean"),
            (link(&format!("\"is_active\":true,\"expires_at\":\"soon\",\"created_at\":\"{time}\"")), "soon"),
            (
                r#"{"kind":"share_link","user_id":1,"user":"u","path":"p","token":123456789}"#.to_owned(),
                "integer `12…`",
            ),
            (user("0", "n"), "0 is no id"),
            (user("9223372036854775807", "n"), "no id"),
            (user("1", "a\\u0000b"), "U+0000"),
            (user("1", "\\ud800"), "no JSON object"),
        ] {
            match parse(text.as_bytes()) {
                Read::Broken(said) => assert!(said.contains(why) && !said.contains(" at line "), "{text}: {said}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn lines_are_numbered_as_editors_number_them() {
        let endless = format!("{}\n", "x".repeat(3 * LONGEST_LINE));
        let found = read(&format!("{{\"kind\":\"a\"}}\r\n\n  \n{endless}{{\"kind\":\"b\"}}"));
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4, 5]);
        assert!(matches!(&found[1].1, Read::Broken(why) if why.contains("longer")), "{found:?}");
        assert!(matches!(&found[2].1, Read::Unknown(kind) if kind == "b"), "{found:?}");
        assert!(read("").is_empty());
    }
}
