//! An S3 server in this process: real TCP, real SigV4 (of the s3s crate), and a memory behind it in which a test can put
//! any key, and which can be told to fail.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use md5::{Digest as _, Md5};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    CommonPrefix, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, TimestampFormat,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const ACCESS: &str = "AKTEST";
pub(crate) const SECRET: &str = "secret-of-the-test";

#[derive(Debug, Clone)]
struct Stored {
    content: bytes::Bytes,
    size: i64,
    etag: String,
    written: u64,
}

/// How requests of one kind are answered, whatever there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detour {
    /// `HEAD`, `GET`, `PUT` or, for GET requests of a list, `LIST`.
    pub(crate) of: &'static str,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// What goes wrong, and what was asked.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// From this list request on (the first is 0) all of them are refused.
    pub(crate) refuse_lists_from: Option<usize>,
    /// List requests are answered by these texts, one after the other, and by the last one for ever.
    pub(crate) pages: VecDeque<String>,
    /// Requests of some kind are answered by this.
    pub(crate) detour: Option<Detour>,
    /// How many of them there were.
    pub(crate) detours: usize,
    /// HEAD requests for this key are refused.
    pub(crate) refuse_head: Option<String>,
    /// HEAD requests for keys that begin so are refused.
    pub(crate) refuse_heads_below: Option<String>,
    /// Keys are listed folder by folder, as SeaweedFS does, and not by their bytes.
    pub(crate) by_folder: bool,
    /// HEAD requests find nothing.
    pub(crate) blind: bool,
    /// GET requests are refused.
    pub(crate) refuse_gets: bool,
    /// One GET request behind `faster` does not find that yet.
    pub(crate) slow_to_show: bool,
    unseen: usize,
    /// PUT requests are refused.
    pub(crate) refuse_puts: bool,
    /// A PUT overwrites, whatever its condition says.
    pub(crate) ignore_conditions: bool,
    /// A PUT with a condition is an error.
    pub(crate) no_conditions: bool,
    /// Right before the next PUT, somebody else puts this content there.
    pub(crate) faster: Option<Vec<u8>>,
    /// How many list requests there were.
    pub(crate) lists: usize,
    /// How many HEAD requests there were.
    pub(crate) heads: usize,
}

#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<BTreeMap<String, Stored>>,
    faults: Mutex<Faults>,
    clock: Mutex<u64>,
}

impl Shared {
    /// Returns what a list request is answered by, if not by what there is.
    fn next_page(&self, query: &str) -> Option<String> {
        let mut faults = self.faults.lock().unwrap();
        if faults.pages.is_empty() || !query.contains("list-type=2") {
            return None;
        }
        faults.lists += 1;
        if faults.pages.len() > 1 { faults.pages.pop_front() } else { faults.pages.front().cloned() }
    }

    /// Returns what a request is answered by, if not by what there is.
    fn detour(&self, method: &str, query: &str) -> Option<Detour> {
        let mut faults = self.faults.lock().unwrap();
        let kind = if query.contains("list-type=2") { "LIST" } else { method };
        let detour = faults.detour.clone().filter(|detour| detour.of == kind)?;
        faults.detours += 1;
        Some(detour)
    }

    fn put(&self, key: &str, content: &[u8]) -> String {
        let mut clock = self.clock.lock().unwrap();
        *clock += 1;
        let etag: String = Md5::digest(content).iter().map(|b| format!("{b:02x}")).collect();
        let content = bytes::Bytes::copy_from_slice(content);
        let size = i64::try_from(content.len()).unwrap();
        let stored = Stored { content, size, etag: etag.clone(), written: *clock };
        self.objects.lock().unwrap().insert(key.to_owned(), stored);
        etag
    }
}

/// A running server; it ends with its runtime, when this is dropped.
pub(crate) struct S3Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
    pub(crate) prefix: String,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut service = S3ServiceBuilder::new(Memory(Arc::clone(&shared)));
        service.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let played = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (service, played) = (service.clone(), Arc::clone(&played));
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let query = request.uri().query().unwrap_or_default();
                    let detour = played.detour(request.method().as_str(), query);
                    let page = if detour.is_some() { None } else { played.next_page(query) };
                    let service = service.clone();
                    async move {
                        match (detour, page) {
                            (Some(Detour { status, headers, body, .. }), _) => {
                                let answer = hyper::Response::builder().status(status);
                                let answer = headers.into_iter().fold(answer, |a, (name, value)| a.header(name, value));
                                Ok(answer.body(s3s::Body::from(body)).unwrap())
                            }
                            (None, Some(page)) => Ok(hyper::Response::new(s3s::Body::from(page))),
                            (None, None) => hyper::service::Service::call(&service, request).await,
                        }
                    }
                });
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, shared, _runtime: runtime, prefix: String::new() }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A storage URL that says everything.
    pub(crate) fn url(&self) -> String {
        format!(
            "s3://{BUCKET}/{}?access_key_id={ACCESS}&secret_access_key={SECRET}&region=us-east-1&endpoint={}",
            self.prefix,
            self.endpoint()
        )
    }

    /// Starts a way to the server on which the first answer is cut off after `bytes` bytes, and returns its address.
    pub(crate) fn cut_once_after(&self, bytes: usize) -> SocketAddr {
        use std::io::{Read as _, Write as _};
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let (address, server) = (listener.local_addr().unwrap(), self.address);
        std::thread::spawn(move || {
            for (n, client) in listener.incoming().enumerate() {
                let (Ok(mut client), Ok(mut upstream)) = (client, std::net::TcpStream::connect(server)) else { return };
                let (mut requests, mut to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut requests, &mut to_server));
                std::thread::spawn(move || {
                    let (mut told, mut buffer) = (0, [0; 64]);
                    while let Ok(count @ 1..) = upstream.read(&mut buffer) {
                        told += count;
                        if (n == 0 && told > bytes) || client.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        address
    }

    /// The variables by which a child process finds the server.
    pub(crate) fn env(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Puts an object with any key at all.
    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.shared.put(key, content);
    }

    /// Returns the content of an object.
    pub(crate) fn get(&self, key: &str) -> Option<bytes::Bytes> {
        self.shared.objects.lock().unwrap().get(key).map(|stored| stored.content.clone())
    }

    pub(crate) fn remove(&self, key: &str) {
        assert!(self.shared.objects.lock().unwrap().remove(key).is_some(), "{key:?} is not there");
    }

    pub(crate) fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap()
    }
}

struct Memory(Arc<Shared>);

fn time(written: u64) -> Timestamp {
    let (minute, second) = (written / 60 % 60, written % 60);
    Timestamp::parse(TimestampFormat::DateTime, &format!("2026-01-01T00:{minute:02}:{second:02}.125Z")).unwrap()
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let by_folder = {
            let mut faults = self.0.faults.lock().unwrap();
            faults.lists += 1;
            if faults.refuse_lists_from.is_some_and(|from| faults.lists > from) {
                return Err(s3_error!(AccessDenied));
            }
            faults.by_folder
        };
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let most = usize::try_from(input.max_keys.unwrap_or(1000).clamp(1, 1000)).unwrap();
        let objects = self.0.objects.lock().unwrap();
        let (mut contents, mut folders) = (Vec::new(), Vec::<String>::new());
        let (mut last, mut truncated) = (String::new(), false);
        let place = |key: &str| key.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (from, starts) = (place(&after), |key: &str| key.starts_with(&prefix));
        let mut found: Vec<_> = match by_folder {
            true => objects.iter().filter(|(key, _)| starts(key) && place(key) > from).collect(),
            false => objects.iter().filter(|(key, _)| starts(key) && **key > after).collect(),
        };
        if by_folder {
            found.sort_by_cached_key(|(key, _)| place(key));
        }
        for (key, stored) in found {
            let folder = input.delimiter.as_deref().and_then(|d| {
                let (name, _) = key[prefix.len()..].split_once(d)?;
                Some(format!("{prefix}{name}{d}"))
            });
            if folder.as_ref().is_some_and(|f| folders.last() == Some(f)) {
                last.clone_from(key);
                continue;
            }
            if contents.len() + folders.len() == most {
                truncated = true;
                break;
            }
            last.clone_from(key);
            match folder {
                Some(folder) => folders.push(folder),
                None => contents.push(Object {
                    key: Some(key.clone()),
                    size: Some(stored.size),
                    e_tag: Some(ETag::Strong(stored.etag.clone())),
                    last_modified: Some(time(stored.written)),
                    ..Object::default()
                }),
            }
        }
        let common_prefixes =
            folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect::<Vec<_>>();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: Some(i32::try_from(contents.len() + common_prefixes.len()).unwrap()),
            max_keys: Some(i32::try_from(most).unwrap()),
            is_truncated: Some(truncated),
            next_continuation_token: truncated.then_some(last),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        {
            let mut faults = self.0.faults.lock().unwrap();
            if faults.refuse_gets {
                return Err(s3_error!(AccessDenied));
            }
            if faults.unseen > 0 {
                faults.unseen -= 1;
                return Err(s3_error!(NoSuchKey));
            }
        }
        let objects = self.0.objects.lock().unwrap();
        let stored = objects.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::from(s3s::Body::from(stored.content.clone()))),
            content_length: Some(stored.size),
            e_tag: Some(ETag::Strong(stored.etag.clone())),
            last_modified: Some(time(stored.written)),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, .. } = request.input;
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let chunks: Vec<bytes::Bytes> =
            body.unwrap().try_collect().await.map_err(|e| s3_error!(InternalError, "{e}"))?;
        let faults = {
            let mut faults = self.0.faults.lock().unwrap();
            if let Some(content) = faults.faster.take() {
                self.0.put(&key, &content);
                faults.unseen = usize::from(faults.slow_to_show);
            }
            (faults.refuse_puts, faults.no_conditions, faults.ignore_conditions)
        };
        let there = self.0.objects.lock().unwrap().contains_key(&key);
        match (faults, if_none_match.is_some()) {
            ((true, ..), _) => return Err(s3_error!(AccessDenied)),
            ((_, true, _), true) => return Err(s3_error!(NotImplemented)),
            ((_, _, false), true) if there => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        let etag = self.0.put(&key, &chunks.concat());
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag)), ..PutObjectOutput::default() }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        {
            let mut faults = self.0.faults.lock().unwrap();
            faults.heads += 1;
            let below = faults.refuse_heads_below.as_deref().is_some_and(|start| input.key.starts_with(start));
            if below || faults.refuse_head.as_deref() == Some(&input.key) {
                return Err(s3_error!(AccessDenied));
            }
            if faults.blind {
                return Err(s3_error!(NoSuchKey));
            }
        }
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let objects = self.0.objects.lock().unwrap();
        let stored = objects.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(stored.size),
            e_tag: Some(ETag::Strong(stored.etag.clone())),
            last_modified: Some(time(stored.written)),
            ..HeadObjectOutput::default()
        }))
    }
}
