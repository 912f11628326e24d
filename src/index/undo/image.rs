//! A record as the journal writes it down.

use serde_json::Value;

use crate::model::{FileId, Orphan, Timestamp, UserId, name_of, parent_of};

/// A record as the journal writes it down: its columns by their names.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::index) struct Image(Value);

/// What the storage said of a file when the record was written.
const FACTS: [&str; 6] = ["size", "content_type", "etag", "last_modified", "file_id", "updated_at"];

impl Image {
    /// Reads an image; `None` when it is none.
    pub(in crate::index) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let is_image = value["path"].is_string() && value["user_id"].is_i64() && value["id"].is_i64();
        is_image.then_some(Self(value))
    }

    /// Tells whether a record can be made of it.
    pub(in crate::index) fn is_whole(&self) -> bool {
        self.0["created_at"].is_string() && self.0["updated_at"].is_string()
    }

    /// Returns the path.
    pub(in crate::index) fn path(&self) -> &str {
        self.0["path"].as_str().unwrap_or_default()
    }

    /// Returns whose it is.
    pub(in crate::index) fn user(&self) -> UserId {
        self.0["user_id"].as_i64().unwrap_or_default()
    }

    /// Returns the columns by their names.
    pub(in crate::index) fn columns(&self) -> &Value {
        &self.0
    }

    /// Tells whether it says the same of a record as another one. What names the file on its disk is not compared: runs
    /// bring it up to date without a line in the journal. Images of earlier versions have neither name nor parent: then
    /// those say nothing.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let names = ["name", "parent_path"];
        let have_names = names.iter().all(|name| self.0[name].is_string() && other.0[name].is_string());
        let ignored = ["file_id"].into_iter().chain(names.into_iter().filter(|_| !have_names));
        let [mine, theirs] = [self, other].map(|image| {
            let mut image = image.clone();
            ignored.clone().for_each(|column| image.0[column] = Value::Null);
            image
        });
        mine == theirs
    }

    /// Returns the record with name and parent, which follow from the path where it has none.
    pub(super) fn named(mut self) -> Self {
        let names = [("name", name_of(self.path()).to_owned()), ("parent_path", parent_of(self.path()).to_owned())];
        for (column, derived) in names {
            if !self.0[column].is_string() {
                self.0[column] = derived.into();
            }
        }
        self
    }

    /// Tells whether it has the size and the modification time of another one.
    pub(super) fn is_of_content_of(&self, other: &Self) -> bool {
        ["size", "last_modified"].iter().all(|fact| self.0[fact] == other.0[fact] && !self.0[fact].is_null())
    }

    /// Returns the record with what names the file of another one on its disk, where that is known.
    pub(super) fn with_file_id_of(mut self, other: &Self) -> Self {
        if other.0["file_id"].is_string() {
            self.0["file_id"] = other.0["file_id"].clone();
        }
        self
    }

    /// Returns the facts that can prove which file the record is of.
    pub(super) fn orphan(&self) -> Orphan {
        let text = |column: &str| self.0[column].as_str();
        let micros = |column: &str| text(column).and_then(Timestamp::from_text).map(Timestamp::micros);
        Orphan {
            user: self.user(),
            id: self.0["id"].as_i64().unwrap_or_default(),
            path: self.path().to_owned(),
            size: self.0["size"].as_u64(),
            content_type: text("content_type").map(str::to_owned),
            etag: text("etag").map(str::to_owned),
            last_modified: micros("last_modified"),
            file_id: text("file_id").and_then(FileId::from_text),
            created_at: micros("created_at"),
            version: String::new(),
        }
    }

    /// Returns the record with the facts of another one.
    pub(super) fn with_facts_of(mut self, other: &Self) -> Self {
        for fact in FACTS {
            self.0[fact] = other.0[fact].clone();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_images_are_read() {
        assert!(Image::parse("{}").is_none() && Image::parse("nonsense").is_none());
        let image = Image::parse(r#"{"id":1,"user_id":2,"path":"p"}"#).unwrap();
        assert_eq!((image.user(), image.path(), image.is_whole()), (2, "p", false));
    }

    /// What earlier versions wrote down has neither name nor parent.
    #[test]
    fn images_without_names_agree_with_those_that_have_them() {
        let old = |size: u64| Image(json!({"id": 1, "user_id": 1, "path": "d/a", "size": size}));
        let new = |name: &str, size: u64| {
            let mut image = old(size);
            image.0["name"] = name.into();
            image.0["parent_path"] = "d".into();
            image
        };
        for (one, other, agree) in [
            (new("a", 2), new("a", 2), true),
            (new("a", 2), new("b", 2), false),
            (new("b", 2), old(2), true),
            (old(2), old(2), true),
            (new("a", 2), old(3), false),
            (new("a", 2), new("a", 3), false),
        ] {
            assert_eq!((one.agrees_with(&other), other.agrees_with(&one)), (agree, agree), "{one:?} {other:?}");
        }
        assert_eq!((old(2).named(), new("b", 2).named()), (new("a", 2), new("b", 2)));
    }
}
