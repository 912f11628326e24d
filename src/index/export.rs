//! What people made -> lines, page by page, all of one moment.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, QueryResult, TransactionTrait as _};

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::people::{EXPORT_VERSION, Header, KeyLine, Line, LinkLine, Unkept, UserLine};
use super::writes::unix_seconds;
use crate::model::Timestamp;

/// How many lines one page has at the most.
const PAGE: i64 = 1_000;

/// Some lines, and what could not be one.
#[derive(Debug, Default)]
pub struct ExportPage {
    /// The lines, in their order.
    pub lines: Vec<Line>,
    /// What another program has written into the index so that no line can carry it.
    pub unkept: Vec<Unkept>,
}

/// An export that is under way: it sees the index as it was when it began. [`Index::close`] waits for its end.
#[derive(Debug)]
pub struct Export {
    snapshot: DatabaseTransaction,
    now: Timestamp,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Header,
    UsersAfter(i64),
    LinksAfter(i64),
    KeysAfter(i64),
    Nothing,
}

impl Index {
    /// Begins to read users, share links and keys, all of this moment.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn export(&self) -> Result<Export, IndexError> {
        let options = Dialect::of(&self.reader).snapshot();
        let snapshot = self.reader.begin_with_options(options).await.map_err(IndexError::Read)?;
        Ok(Export { snapshot, now: self.clock.now(), next: Next::Header })
    }
}

impl Export {
    /// Returns the next page; `None` when all has been told. Only the first line of the first page is a header.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn page(&mut self) -> Result<Option<ExportPage>, IndexError> {
        let page = match self.next {
            Next::Header => self.header().await,
            Next::UsersAfter(id) => self.users(id).await,
            Next::LinksAfter(id) => self.links(id).await,
            Next::KeysAfter(id) => self.keys(id).await,
            Next::Nothing => return Ok(None),
        };
        page.map(Some).map_err(IndexError::Read)
    }

    async fn header(&mut self) -> Result<ExportPage, DbErr> {
        let query = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM share_links), \
                     (SELECT count(*) FROM api_keys)";
        let row = self.snapshot.query_one_raw(sql(&self.snapshot, query, [])).await?;
        let count = |at| {
            let count: i64 = row.as_ref().map_or(Ok(0), |row| row.try_get_by_index(at))?;
            Ok::<_, DbErr>(u64::try_from(count).unwrap_or(0))
        };
        let kinds = ["user", "share_link", "api_key"].into_iter().enumerate();
        let counts = kinds.map(|(at, kind)| Ok((kind.to_owned(), count(at)?))).collect::<Result<_, DbErr>>()?;
        let header = Header { version: EXPORT_VERSION, counts, created_at: Some(self.now.to_text()) };
        self.next = Next::UsersAfter(i64::MIN);
        Ok(ExportPage { lines: vec![Line::Header(header)], unkept: Vec::new() })
    }

    async fn users(&mut self, after: i64) -> Result<ExportPage, DbErr> {
        let dialect = Dialect::of(&self.snapshot);
        let [name, prefix, made] = ["name", "prefix", "created_at"].map(|column| dialect.bytes(column));
        let query = format!("SELECT id, {name}, {prefix}, {made} FROM users WHERE id > ? ORDER BY id LIMIT ?");
        let rows = self.snapshot.query_all_raw(dialect.sql(&query, [after.into(), PAGE.into()])).await?;
        let (mut page, mut last) = (ExportPage::default(), None);
        for row in &rows {
            let id: i64 = row.try_get_by_index(0)?;
            last = Some(id);
            match (text(row, 1)?, text(row, 2)?) {
                (Some(name), Some(prefix)) => {
                    let created_at = self.time(row, 3)?;
                    page.lines.push(Line::User(UserLine { id, name, prefix, created_at }));
                }
                _ => page.unkept.push(Unkept {
                    code: "unreadable_text",
                    message: format!("user {id} has a name or prefix that is no text; mend it, and export again"),
                    user_id: Some(id),
                    ..Unkept::default()
                }),
            }
        }
        self.next = last.map_or(Next::LinksAfter(i64::MIN), Next::UsersAfter);
        Ok(page)
    }

    async fn links(&mut self, after: i64) -> Result<ExportPage, DbErr> {
        let dialect = Dialect::of(&self.snapshot);
        let [user, path, token] = ["users.name", "stored_files.path", "token"].map(|column| dialect.bytes(column));
        let [ends, made] = ["expires_at", "links.created_at"].map(|column| dialect.bytes(column));
        // Only to see that the database reads the end as it is read here: an export says when a link ends, whatever time it is.
        let active = dialect.active_by("?");
        // The page is cut before anything is looked up for it.
        let query = format!(
            "SELECT links.id, users.id, {user}, {path}, {token}, (is_active IS DISTINCT FROM false), {active}, {ends}, \
             {made} FROM (SELECT * FROM share_links WHERE id > ? ORDER BY id LIMIT ?) AS links \
             LEFT JOIN stored_files ON stored_files.id = stored_file_id LEFT JOIN users ON users.id = user_id \
             ORDER BY links.id"
        );
        let values = [unix_seconds(self.now).into(), after.into(), PAGE.into()];
        let rows = self.snapshot.query_all_raw(dialect.sql(&query, values)).await?;
        let (mut page, mut last) = (ExportPage::default(), None);
        for row in &rows {
            let id: i64 = row.try_get_by_index(0)?;
            last = Some(id);
            let whose: Option<i64> = row.try_get_by_index(1)?;
            let (Some(user_id), Some(user), Some(path), Some(token)) =
                (whose, text(row, 2)?, text(row, 3)?, text(row, 4)?)
            else {
                page.unkept.push(Unkept {
                    code: "unreadable_text",
                    message: format!(
                        "share link {id} has a token, path or user that is no text, or no file; mend it, and export again"
                    ),
                    user_id: whose,
                    ..Unkept::default()
                });
                continue;
            };
            let (is_active, ends) =
                meaning(row.try_get_by_index(5)?, row.try_get_by_index(6)?, lossy(row, 7)?, self.now);
            let created_at = self.time(row, 8)?;
            let expires_at = ends.map(Timestamp::to_text);
            let link = LinkLine { user_id, user, path, token, is_active, expires_at, created_at };
            page.lines.push(Line::ShareLink(link));
        }
        self.next = last.map_or(Next::KeysAfter(i64::MIN), Next::LinksAfter);
        Ok(page)
    }

    async fn keys(&mut self, after: i64) -> Result<ExportPage, DbErr> {
        let dialect = Dialect::of(&self.snapshot);
        let texts = ["users.name", "keys.name", "keys.prefix", "hash", "keys.created_at", "expires_at", "revoked_at"];
        let query = format!(
            "SELECT keys.id, user_id, is_admin, {} FROM (SELECT * FROM api_keys WHERE id > ? ORDER BY id LIMIT ?) AS keys \
             JOIN users ON users.id = user_id ORDER BY keys.id",
            texts.map(|column| dialect.bytes(column)).join(", ")
        );
        let rows = self.snapshot.query_all_raw(dialect.sql(&query, [after.into(), PAGE.into()])).await?;
        let (mut page, mut last) = (ExportPage::default(), None);
        for row in &rows {
            let id: i64 = row.try_get_by_index(0)?;
            last = Some(id);
            let user_id = row.try_get_by_index(1)?;
            let (Some(user), Some(name), Some(prefix), Some(hash)) =
                (text(row, 3)?, text(row, 4)?, text(row, 5)?, text(row, 6)?)
            else {
                let message = format!("key {id} has a name, prefix or hash that is no text; mend it, and export again");
                let user_id = Some(user_id);
                page.unkept.push(Unkept { code: "unreadable_text", message, user_id, ..Unkept::default() });
                continue;
            };
            let created_at = self.time(row, 7)?;
            // What cannot be read has ended: a key in doubt opens nothing.
            let end = |at| lossy(row, at)?.map(|_| self.time(row, at)).transpose();
            let (expires_at, revoked_at) = (end(8)?, end(9)?);
            let is_admin = row.try_get_by_index(2)?;
            page.lines.push(Line::ApiKey(KeyLine {
                user_id,
                user,
                name,
                prefix,
                hash,
                is_admin,
                created_at,
                expires_at,
                revoked_at,
            }));
        }
        self.next = last.map_or(Next::Nothing, Next::KeysAfter);
        Ok(page)
    }

    /// Reads when something was made; what is no time says nothing, and the export's own is as good.
    fn time(&self, row: &QueryResult, column: usize) -> Result<String, DbErr> {
        let time = lossy(row, column)?.and_then(|text| Timestamp::from_text(&text));
        Ok(time.unwrap_or(self.now).to_text())
    }
}

/// Reads a text as it is, or not at all: a secret with another character is another secret.
fn text(row: &QueryResult, column: usize) -> Result<Option<String>, DbErr> {
    let bytes: Option<Vec<u8>> = row.try_get_by_index(column)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0')))
}

/// Says of a link whether it is revoked and when it ends, in words that every database reads alike: where the database
/// cannot read the end, or reads it otherwise, its own verdict is what counts.
fn meaning(unrevoked: bool, active: bool, ends: Option<String>, now: Timestamp) -> (bool, Option<Timestamp>) {
    let Some(ends) = ends else { return (unrevoked, None) };
    let ends = Timestamp::from_text(&ends);
    // The database looked a moment ago, and by the millisecond.
    let near = |ends: Timestamp| ends.micros().abs_diff(now.micros()) < 1_000_000;
    match ends {
        Some(ends) if !unrevoked || near(ends) || active == (ends >= now) => (unrevoked, Some(ends)),
        _ => (active, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_says_of_a_link_what_the_database_makes_of_it() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let (past, future) = ("2026-01-01T00:00:00+00:00", "2126-01-01 00:00:00");
        let time = |text: &str| Timestamp::from_text(text);
        for (unrevoked, active, ends, want) in [
            (true, true, None, (true, None)),
            (false, false, None, (false, None)),
            (true, true, Some(future), (true, time(future))),
            (true, false, Some(past), (true, time(past))),
            (false, false, Some(future), (false, time(future))),
            // What the database cannot read counts as it counts there.
            (true, true, Some("someday"), (true, None)),
            (true, false, Some("-infinity"), (false, None)),
            (false, false, Some("someday"), (false, None)),
            (true, true, Some(past), (true, None)),
        ] {
            assert_eq!(meaning(unrevoked, active, ends.map(str::to_owned), now), want, "{unrevoked} {active} {ends:?}");
        }
    }
}
