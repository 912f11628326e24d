//! What worlds are made real with: one index, opened once and emptied between worlds, a second connection to it, and a
//! storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::DatabaseConnection;
use storm_index::index::{Access, Index};
use storm_index::model::{Order, Timestamp};
use storm_index::storage::Storage;
use tempfile::TempDir;

use super::world::{Link, Record, World};
use crate::listing;
use crate::support::backend::{Backend, Kind};
use crate::support::chaos_faults::Objects;
use crate::support::chaos_store::ChaosStore;
use crate::support::database::{self, TestDatabase};
use crate::support::playground::quick_dir;

/// What an object or a record is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) micros: i64,
}

pub(super) type AllFacts = BTreeMap<String, Facts>;

/// A record as it lies in the index; times in microseconds where they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) user: i64,
    pub(super) path: String,
    pub(super) size: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) modified: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) updated: Option<i64>,
}

/// All of an index that people could miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dump {
    pub(super) records: BTreeMap<i64, Row>,
    /// Columns of links by token, of which the first is the record.
    pub(super) links: BTreeMap<String, Vec<Option<String>>>,
    pub(super) users: Vec<Vec<Option<String>>>,
    /// What a run may note for the next one.
    pub(super) notes: Vec<Vec<Option<String>>>,
    pub(super) binding: Option<String>,
    /// How many lines the journal has, and how many tasks there are.
    pub(super) journal: u64,
    pub(super) tasks: u64,
}

impl Dump {
    /// Returns it without what is about runs alone.
    pub(super) fn without_tasks(&self) -> Self {
        Self { tasks: 0, ..self.clone() }
    }
}

/// The same as texts, one a table: enough to see whether anything has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw(Vec<String>);

type Rows = Vec<Vec<Option<String>>>;

impl Raw {
    /// Returns all but the rows of tasks, which every run leaves.
    pub(super) fn without_tasks(&self) -> &[String] {
        &self.0[..6]
    }

    pub(super) fn dump(&self) -> Dump {
        let rows = |at: usize| serde_json::from_str::<Rows>(&self.0[at]).unwrap();
        let time = |text: &Option<String>| text.as_deref().and_then(micros);
        let records = rows(0).into_iter().map(|mut row| {
            let number = |at: usize| row[at].as_deref().unwrap().parse::<i64>().unwrap();
            let (id, user) = (number(0), number(1));
            let (modified, created, updated) = (time(&row[6]), time(&row[7]), time(&row[8]));
            let mut take = |at: usize| row[at].take();
            let (path, size) = (take(2).unwrap(), take(3));
            let (content_type, etag) = (take(4), take(5));
            (id, Row { user, path, size, content_type, etag, modified, created, updated })
        });
        Dump {
            records: records.collect(),
            links: rows(1).into_iter().map(|mut row| (row.remove(0).unwrap(), row)).collect(),
            users: rows(2),
            notes: rows(3),
            binding: rows(4).remove(0).remove(0),
            journal: rows(5).len() as u64,
            tasks: rows(6).len() as u64,
        }
    }
}

/// A line of the journal.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) action: String,
    pub(super) record: i64,
    pub(super) before: serde_json::Value,
    pub(super) after: serde_json::Value,
    pub(super) links: serde_json::Value,
}

pub(super) enum Place {
    Chaos(Arc<ChaosStore>),
    Real(Kind, Backend),
}

pub(super) struct Bench {
    pub(super) index: Index,
    pub(super) db: DatabaseConnection,
    pub(super) place: Place,
    _database: Option<TestDatabase>,
    _dir: Option<TempDir>,
}

pub(super) fn micros(text: &str) -> Option<i64> {
    Timestamp::from_text(text).map(Timestamp::micros)
}

fn text(micros: Option<i64>) -> String {
    micros.map_or("NULL".to_owned(), |micros| format!("'{}'", Timestamp::from_micros(micros).to_text()))
}

fn quoted(text: Option<&str>) -> String {
    text.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

impl Bench {
    pub(super) async fn new(place: impl FnOnce(DatabaseConnection) -> Place) -> Self {
        // In memory, but a file: another program has to come to it.
        let (database, dir, url) = if database::on_postgres() {
            let database = TestDatabase::fresh();
            let url = database.url();
            (Some(database), None, url)
        } else {
            let dir = quick_dir(1 << 28);
            let url = format!("sqlite://{}", dir.path().join("i.sqlite3").display());
            (None, Some(dir), url)
        };
        let index = Index::open_with(&url, Access::Write, 1).await.unwrap();
        let db = match &dir {
            Some(dir) => database::open_file(&dir.path().join("i.sqlite3")).await,
            None => database::open(&url).await,
        };
        let place = place(db.clone());
        Self { index, db, place, _database: database, _dir: dir }
    }

    pub(super) fn storage(&self) -> Storage {
        match &self.place {
            Place::Chaos(store) => {
                Storage::new(Arc::<ChaosStore>::clone(store)).with_fingerprints().with_order(Order::Bytes)
            }
            Place::Real(_, backend) => backend.storage(),
        }
    }

    /// Makes `world` real.
    pub(super) async fn build(&self, world: &mut World) {
        if let Place::Real(_, backend) = &self.place {
            for (key, entry) in &world.objects {
                backend.put(key, &entry.content).await;
            }
            // The records know the files as this storage does.
            let facts = self.facts().await;
            for record in &mut world.records {
                let then = world.objects.iter().find(|(_, entry)| record.etag == Some(entry.etag()));
                if let Some(now) = then.and_then(|(key, _)| facts.get(key)) {
                    record.etag = Some(now.etag.clone());
                    record.modified = record.modified.map(|_| now.micros);
                }
            }
        }
        let mut statements = String::from("BEGIN;");
        for table in ["journal", "share_links", "stored_files", "users", "tasks"] {
            statements += &format!("DELETE FROM {table};");
        }
        statements +=
            "UPDATE lease SET task_id = NULL, holder = NULL, machine = NULL, process = NULL, expires_at = NULL;";
        let bound = quoted(world.bound.map(|id| id.to_string()).as_deref());
        statements += &format!("UPDATE storage_binding SET storage_id = {bound};");
        for (id, prefix) in &world.users {
            statements += &format!("INSERT INTO users (id, name, prefix) VALUES ({id}, 'user {id}', '{prefix}');");
        }
        for record in &world.records {
            statements += &insert(record);
        }
        database::execute(&self.db, &(statements + "COMMIT")).await;
    }

    pub(super) async fn facts(&self) -> AllFacts {
        match &self.place {
            Place::Chaos(store) => facts_of(&store.state().objects),
            Place::Real(..) => {
                let (objects, _, doubt) = listing::all(&self.storage(), None).await;
                assert!(doubt.is_none());
                let facts = objects.into_iter().map(|o| {
                    let (etag, micros) = (o.etag.unwrap_or_default(), o.last_modified.micros());
                    (o.key, Facts { size: o.size, etag, micros })
                });
                facts.collect()
            }
        }
    }

    /// Returns all of the index in one text.
    pub(super) async fn raw(&self) -> Raw {
        let (all, one) = match database::on_postgres() {
            true => ("json_agg", "json_build_array"),
            false => ("json_group_array", "json_array"),
        };
        let table = |columns: &str, table: &str, order: &str| {
            let texts: Vec<String> = columns.split(' ').map(|column| format!("CAST({column} AS TEXT)")).collect();
            let texts = texts.join(", ");
            format!(
                "(SELECT CAST(coalesce({all}({one}({texts})), '[]') AS TEXT) FROM (SELECT * FROM {table} ORDER BY {order}) AS t)"
            )
        };
        let columns = [
            table("id user_id path size content_type etag last_modified created_at updated_at", "stored_files", "id"),
            table("token stored_file_id id is_active expires_at created_at", "share_links", "id"),
            table("id name prefix", "users", "id"),
            table("id unsettled_since", "users", "id"),
            table("storage_id", "storage_binding", "id"),
            table("id", "journal", "id"),
            table("id", "tasks", "id"),
        ];
        let texts = database::rows(&self.db, &format!("SELECT {}", columns.join(", "))).await.remove(0);
        Raw(texts.into_iter().map(Option::unwrap).collect())
    }

    pub(super) async fn dump(&self) -> Dump {
        self.raw().await.dump()
    }

    /// Returns what the journal says of a task.
    pub(super) async fn journal(&self, task: &str) -> Vec<Noted> {
        let query = format!(
            "SELECT action, CAST(record_id AS TEXT), before, after, links FROM journal WHERE task_id = '{task}' ORDER BY id"
        );
        let json = |text: &Option<String>| text.as_deref().map_or(serde_json::Value::Null, |t| t.parse().unwrap());
        let rows = database::rows(&self.db, &query).await.into_iter();
        rows.map(|row| Noted {
            action: row[0].clone().unwrap(),
            record: row[1].as_deref().unwrap().parse().unwrap(),
            before: json(&row[2]),
            after: json(&row[3]),
            links: json(&row[4]),
        })
        .collect()
    }
}

pub(super) fn facts_of(objects: &Objects) -> AllFacts {
    let objects = objects.iter().filter(|(key, _)| !key.starts_with(".storm-index/"));
    let facts = |entry: &crate::support::chaos_faults::Entry| Facts {
        size: entry.content.len() as u64,
        etag: entry.etag(),
        micros: entry.micros,
    };
    objects.map(|(key, entry)| (key.clone(), facts(entry))).collect()
}

fn insert(record: &Record) -> String {
    let Record { id, user, path, size, content_type, etag, modified, young, links } = record;
    let (name, parent) = (storm_index::model::name_of(path), storm_index::model::parent_of(path));
    let size = size.map_or("NULL".to_owned(), |size| size.to_string());
    let created = if *young { "2090-01-01T00:00:00+00:00" } else { "2020-01-01T00:00:00+00:00" };
    let mut statements = format!(
        "INSERT INTO stored_files (id, user_id, path, name, parent_path, size, content_type, etag, last_modified, \
         created_at, updated_at) VALUES ({id}, {user}, {}, {}, {}, {size}, {}, {}, {}, '{created}', \
         '2024-05-05T00:00:00+00:00');",
        quoted(Some(path)),
        quoted(Some(name)),
        quoted(Some(parent)),
        quoted(content_type.as_deref()),
        quoted(etag.as_deref()),
        text(*modified),
    );
    for (n, link) in links.iter().enumerate() {
        let (active, expires) = match link {
            Link::Active => ("true", "NULL"),
            Link::Ending => ("true", "'2999-01-01T00:00:00+00:00'"),
            Link::Expired => ("true", "'2020-01-01T00:00:00+00:00'"),
            Link::Revoked => ("false", "NULL"),
            Link::Garbled if database::on_postgres() => ("true", "'infinity'"),
            Link::Garbled => ("true", ["'next tuesday'", "'2020-02-31'", "'12:00'", "'3000'"][n % 4]),
        };
        statements += &format!(
            "INSERT INTO share_links (stored_file_id, token, is_active, expires_at) VALUES ({id}, 't{id}-{n}', {active}, \
             {expires});"
        );
    }
    statements
}
