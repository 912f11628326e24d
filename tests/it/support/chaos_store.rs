//! A storage in memory whose listings and answers go wrong as they are told to, and that keeps a diary of all it was asked.
//!
//! Its entity tags name contents, so that renamed files can be recognised, and its clock is a counter: a seed brings back
//! all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sea_orm::DatabaseConnection;
use storm_index::model::Timestamp;
use storm_index::storage::MARKER;

use super::chaos_faults::{Deed, Diary, Entry, Fault, Objects, Told};
use super::database;
use super::random::Random;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    /// Which record a key has, for deeds.
    pub(crate) records: BTreeMap<String, i64>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) diary: Diary,
    clock: i64,
}

impl State {
    fn put(&mut self, key: &str, content: Option<Vec<u8>>) {
        self.clock += 1;
        let micros = 1_790_000_000_000_000 + self.clock * 1_000_003;
        match content {
            Some(content) => drop(self.objects.insert(key.to_owned(), Entry { content, micros })),
            None => drop(self.objects.remove(key)),
        }
    }

    fn meddle(&mut self, key: &str, content: Option<Vec<u8>>) {
        self.diary.meddled.insert(key.to_owned());
        self.put(key, content);
    }
}

pub(crate) struct ChaosStore {
    state: Arc<Mutex<State>>,
    /// The connection of somebody else.
    db: Option<DatabaseConnection>,
}

impl fmt::Debug for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaosStore")
    }
}

impl fmt::Display for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaosStore")
    }
}

/// What a listing does next.
#[derive(Debug, Clone)]
enum Step {
    Tell(ObjectMeta),
    Stall(usize),
    Meddle(Vec<(String, Option<Vec<u8>>)>),
    Fail,
}

fn meta(key: &str, entry: &Entry) -> ObjectMeta {
    ObjectMeta {
        location: Path::parse(key).unwrap(),
        last_modified: Timestamp::from_micros(entry.micros).to_utc(),
        size: entry.content.len() as u64,
        e_tag: Some(format!("\"{}\"", entry.etag())),
        version: None,
    }
}

fn broken(why: &str) -> Error {
    Error::Generic { store: "ChaosStore", source: why.to_owned().into() }
}

impl ChaosStore {
    pub(crate) fn new(db: Option<DatabaseConnection>) -> Self {
        Self { state: Arc::default(), db }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Begins anew, with these objects and faults.
    pub(crate) fn arm(&self, objects: Objects, faults: Vec<Fault>) {
        let mut state = self.state();
        (state.objects, state.faults, state.diary) = (objects, faults, Diary::default());
    }

    fn tell(&self, prefix: Option<&Path>, offset: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let mut state = self.state();
        let start = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
        let after = |key: &str| offset.is_none_or(|offset| key > offset.as_ref());
        let found = state.objects.iter().filter(|(key, _)| key.starts_with(&start) && after(key));
        let mut steps: Vec<Step> = found.map(|(key, entry)| Step::Tell(meta(key, entry))).collect();
        // A marker that is there or not changes nothing about what goes wrong with the others.
        let first = steps.iter().position(|step| !matches!(step, Step::Tell(m) if m.location.as_ref() == MARKER));
        let markers: Vec<Step> = steps.drain(..first.unwrap_or(steps.len())).collect();
        let mut circles = false;
        let faults = state.faults.clone();
        for fault in &faults {
            let len = steps.len();
            let place = |at: usize| len * at / 1_000;
            match fault {
                Fault::Break { at, once } if offset.is_none() || !once => {
                    // Each time it comes less far, until it comes nowhere.
                    steps.truncate(place(*at).checked_shr(2 * state.diary.breaks).unwrap_or(0));
                    state.diary.breaks += 1;
                    steps.push(Step::Fail);
                }
                Fault::Forget(keys) => {
                    steps.retain(|step| !matches!(step, Step::Tell(meta) if keys.contains(meta.location.as_ref())));
                }
                Fault::Empty => steps.clear(),
                Fault::Truncate(at) => steps.truncate(place(*at)),
                Fault::Repeat { at, count } => {
                    let (from, to) = (place(*at), len.min(place(*at) + count));
                    let page = steps[from..to].to_vec();
                    steps.splice(to..to, page);
                }
                Fault::Circle(count) if len > 0 => {
                    circles = true;
                    let page = markers.iter().chain(&steps[..len.min(*count)]).cloned().collect::<Vec<_>>();
                    steps = page.into_iter().cycle().take(5_200).collect();
                }
                Fault::Swap { at, by } if place(*at) + by < len => steps.swap(place(*at), place(*at) + by),
                Fault::Shuffle { at, count, seed } => {
                    let (from, to) = (place(*at), len.min(place(*at) + count));
                    let mut random = Random::new(*seed);
                    (from + 1..to).for_each(|n| steps.swap(n, from + random.below(n - from + 1)));
                }
                Fault::Stall { at, polls } => steps.insert(place(*at), Step::Stall(*polls)),
                Fault::MeddleAt { at, changes } => steps.insert(place(*at), Step::Meddle(changes.clone())),
                _ => {}
            }
        }
        if !circles && !faults.contains(&Fault::Empty) {
            steps.splice(0..0, markers);
        }
        if let Some(end) = steps.iter().position(|step| matches!(step, Step::Fail)) {
            steps.truncate(end + 1);
        }
        match (offset, state.diary.listings.last_mut()) {
            (Some(_), Some(told)) => told.failed = false,
            _ => {
                let is_second_look = state.diary.looks > 0;
                state.diary.listings.push(Told { circles, is_second_look, ..Told::default() });
            }
        }
        let shared = Arc::clone(&self.state);
        let number = state.diary.listings.len() - 1;
        let stream = stream::iter(steps).filter_map(move |step| {
            let shared = Arc::clone(&shared);
            async move {
                if let Step::Stall(polls) = step {
                    let mut left = polls;
                    std::future::poll_fn(move |context| {
                        left = left.saturating_sub(1);
                        context.waker().wake_by_ref();
                        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                    return None;
                }
                let mut state = shared.lock().unwrap();
                match step {
                    Step::Tell(meta) => {
                        let tag = meta.e_tag.clone().unwrap_or_default().replace('"', "");
                        if let Some(told) = state.diary.listings.get_mut(number) {
                            told.keys.push((meta.location.to_string(), meta.size, tag));
                        }
                        Some(Ok(meta))
                    }
                    Step::Meddle(changes) => {
                        changes.into_iter().for_each(|(key, content)| state.meddle(&key, content));
                        None
                    }
                    Step::Stall(_) => None,
                    Step::Fail => {
                        if let Some(told) = state.diary.listings.get_mut(number) {
                            told.failed = true;
                        }
                        Some(Err(broken("the wire was cut")))
                    }
                }
            }
        });
        Box::pin(stream)
    }

    /// Does what somebody does when `key` is looked for.
    async fn deed(&self, key: &str) {
        let (deeds, number, record) = {
            let mut state = self.state();
            let number = state.diary.looks;
            state.diary.looks += 1;
            let due = |fault: &Fault| match fault {
                Fault::AtLook(at, deed) if *at == number => Some(*deed),
                _ => None,
            };
            let deeds: Vec<Deed> = state.faults.iter().filter_map(due).collect();
            (deeds, number, state.records.get(key).copied())
        };
        for (nth, deed) in deeds.into_iter().enumerate() {
            let statement = match (deed, record) {
                (Deed::Upload, _) => {
                    self.state().meddle(key, Some(format!("back {number}").into_bytes()));
                    continue;
                }
                (Deed::Steal, _) => {
                    self.state().diary.stolen = true;
                    "UPDATE lease SET task_id = 'another' WHERE id = 1".to_owned()
                }
                (Deed::Share, Some(id)) => {
                    self.state().diary.shared.insert(id);
                    format!("INSERT INTO share_links (stored_file_id, token) VALUES ({id}, 'late{number}-{nth}')")
                }
                (Deed::Edit, Some(id)) => {
                    self.state().diary.edited.insert(id);
                    format!("UPDATE stored_files SET content_type = 'by/hand' WHERE id = {id}")
                }
                (Deed::Share | Deed::Edit, None) => continue,
            };
            if let Some(db) = &self.db {
                database::execute(db, &statement).await;
            }
        }
    }
}

#[async_trait]
impl ObjectStore for ChaosStore {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.tell(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.tell(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        let folders: BTreeSet<String> = {
            let state = self.state();
            state.objects.keys().filter_map(|key| Some(key.split_once('/')?.0.to_owned())).collect()
        };
        let mut level = InMemory::new().list_with_delimiter(None).await?;
        level.common_prefixes = folders.iter().map(|folder| Path::parse(folder).unwrap()).collect();
        Ok(level)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.as_ref();
        if key != MARKER {
            self.deed(key).await;
        }
        let found = {
            let mut state = self.state();
            let mut found = state.objects.get(key).cloned();
            if key == MARKER {
                let number = state.diary.marker_reads;
                state.diary.marker_reads += 1;
                state.diary.marker_read = true;
                let turned = state.faults.iter().find_map(|fault| match fault {
                    Fault::Marker { after, says } if number >= *after => Some(says.clone()),
                    _ => None,
                });
                if let Some(says) = turned {
                    let Some(says) = says else {
                        state.diary.marker = None;
                        return Err(broken("Input/output error"));
                    };
                    found = says.map(|content| Entry { content: content.into_bytes(), micros: 0 });
                }
                let said = found.as_ref().map(|entry| String::from_utf8_lossy(&entry.content).into_owned());
                state.diary.marker = Some(said);
            } else if state.faults.iter().any(|fault| matches!(fault, Fault::Deaf(keys) if keys.contains(key))) {
                return Err(broken("503"));
            } else if found.is_none() {
                state.diary.absent.insert(key.to_owned());
            }
            found
        };
        let Some(entry) = found else {
            return Err(Error::NotFound { path: key.to_owned(), source: "it is not there".to_owned().into() });
        };
        let single = InMemory::new();
        single.put(location, entry.content.clone().into()).await?;
        let mut result = single.get_opts(location, options).await?;
        result.meta = meta(key, &entry);
        Ok(result)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let content: Vec<u8> = payload.iter().flat_map(|bytes| bytes.to_vec()).collect();
        {
            let mut state = self.state();
            let key = location.as_ref();
            if key != MARKER {
                state.diary.forbidden.push(format!("put {key}"));
            }
            let denied = |why: &str| (key.to_owned(), why.to_owned().into());
            if state.faults.contains(&Fault::ReadOnly) {
                let (path, source) = denied("read-only");
                return Err(Error::PermissionDenied { path, source });
            }
            if options.mode == PutMode::Create && state.objects.contains_key(key) {
                let (path, source) = denied("it is there");
                return Err(Error::AlreadyExists { path, source });
            }
            state.diary.marker_written = true;
            state.put(key, Some(content));
        }
        InMemory::new().put(location, "".into()).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.state().diary.forbidden.push(format!("upload {location}"));
        Err(Error::NotImplemented { operation: "upload".to_owned(), implementer: "ChaosStore".to_owned() })
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.state().diary.forbidden.push("delete".to_owned());
        stream::empty().boxed()
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        self.state().diary.forbidden.push(format!("copy {from} {to}"));
        Ok(())
    }
}
