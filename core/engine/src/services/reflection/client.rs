//! The client's side of reflection: a schema from a live server.
//!
//! One stream is walked: the list of services, then the file of each, then the imports that did not come along, until nothing
//! is missing. Answers are taken as they come: files out of order, twice, or with imports left out. What a server cannot give is
//! looked for among the engine's own descriptors (many servers leave the well-known types out); a service that is still
//! incomplete is skipped, and the rest is used.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::poll_fn;

use bytes::Bytes;
use stubless_codec::wire::RawValue;
use stubless_codec::{Schema, SchemaError};

use super::{METHOD, SERVICES, request, response};
use crate::call::{ClientEvent, MethodKind};
use crate::client::{Call, CallOptions, Channel, Method};
use crate::metadata::Metadata;
use crate::services::wire::{Unreadable, one_field, only_text, read, share, text};
use crate::services::{bundled, quoted};
use crate::status::{Code, Status};

/// The most descriptors taken from one server, bytes; also the largest single answer unless the options say otherwise.
const MAX_BYTES: usize = 64 << 20;
/// The most files taken from one server, and the most names asked for.
const MAX_FILES: usize = 10_000;
/// The most import statements taken from one server.
const MAX_IMPORTS: usize = 1_000_000;
/// The longest package name.
const MAX_PACKAGE_BYTES: usize = 4096;
/// Questions that wait for their answers at one time.
const IN_FLIGHT: usize = 16;
/// Questions that may end their stream before the whole walk counts as failed.
const MAX_BROKEN_STREAMS: u32 = 16;
/// Attempts to find out which services do not fit together.
const MAX_BUILDS: u32 = 64;

/// What a server told of itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The files of the services that came whole.
    pub schema: Schema,
    /// The services that came whole, sorted.
    pub services: Vec<String>,
    /// The services that did not, sorted, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// Why there is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The call ended badly. UNIMPLEMENTED: the server has no reflection, neither v1 nor v1alpha.
    #[error("reflection: {0}")]
    Call(Status),
    /// The server's descriptors are more than a client takes.
    #[error("reflection: the server has more than {limit} {what}")]
    TooLarge {
        /// "bytes of descriptors", "files", "imports" or "services".
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl LoadError {
    /// The code under which a caller that only knows statuses sees this error.
    pub fn code(&self) -> Code {
        match self {
            LoadError::Call(status) => status.code(),
            LoadError::TooLarge { .. } => Code::ResourceExhausted,
        }
    }
}

/// Asks the server behind `channel` for all its services and makes a schema of the answers: v1 first, v1alpha where that is
/// UNIMPLEMENTED. The timeout in `options` bounds the whole walk; without a limit of its own a single
/// answer may have all of the 64 MiB.
///
/// # Errors
/// [`LoadError::Call`]: the server has no reflection, cannot be reached, or the deadline passed. [`LoadError::TooLarge`]: more than
/// 64 MiB of descriptors, 10,000 files or 10,000 services. A service that cannot be had is no error: see [`Loaded::skipped`].
pub async fn load_schema(
    channel: &Channel,
    metadata: Metadata,
    options: CallOptions,
) -> Result<Loaded, LoadError> {
    let mut options = options;
    if let Some(timeout) = options.timeout {
        let deadline = channel.rt().now() + timeout;
        options.deadline = Some(options.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }
    options.max_receive_message_bytes.get_or_insert(MAX_BYTES + (1 << 20));
    for service in SERVICES {
        let method = Method::new(&format!("/{service}/{METHOD}"), MethodKind::BIDI_STREAMING);
        let method = method.map_err(|error| LoadError::Call(error.into()))?;
        let mut walk = Walk::new(channel, method, metadata.clone(), options.clone());
        match walk.run().await {
            Err(LoadError::Call(status))
                if status.code() == Code::Unimplemented && !walk.answered => {}
            ended => return ended.map(|services| walk.found.into_loaded(services)),
        }
    }
    let text = "the server has no reflection service, neither v1 nor v1alpha";
    Err(LoadError::Call(Status::new(Code::Unimplemented, text)))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Ask {
    Services,
    Symbol(String),
    File(String),
}

impl Ask {
    fn encode(&self) -> Bytes {
        match self {
            // the text does not matter; "*" is what everybody sends
            Ask::Services => one_field(request::LIST_SERVICES, b"*"),
            Ask::Symbol(name) => one_field(request::FILE_CONTAINING_SYMBOL, name.as_bytes()),
            Ask::File(name) => one_field(request::FILE_BY_FILENAME, name.as_bytes()),
        }
    }

    /// Under what name a failure is remembered: services and files cannot be mistaken for each other.
    fn name(&self) -> &str {
        match self {
            Ask::Services => "",
            Ask::Symbol(name) | Ask::File(name) => name,
        }
    }
}

/// One answer.
enum Answer {
    Services(Vec<String>),
    Files(Vec<Bytes>),
    Error(i32, String),
    /// More of this than a client takes.
    TooMany(&'static str),
    /// Nothing this client knows.
    Other,
}

struct Walk<'a> {
    channel: &'a Channel,
    method: Method,
    metadata: Metadata,
    options: CallOptions,
    call: Option<Call>,
    /// Whether the server has answered anything, and anything on this stream.
    answered: bool,
    answered_here: bool,
    /// Bytes of all answers.
    bytes: usize,
    broken_streams: u32,
    services: Vec<String>,
    found: Found,
}

impl<'a> Walk<'a> {
    fn new(
        channel: &'a Channel,
        method: Method,
        metadata: Metadata,
        options: CallOptions,
    ) -> Walk<'a> {
        Walk {
            channel,
            method,
            metadata,
            options,
            call: None,
            answered: false,
            answered_here: false,
            bytes: 0,
            broken_streams: 0,
            services: Vec::new(),
            found: Found::default(),
        }
    }

    /// Collects everything; gives the services listed.
    async fn run(&mut self) -> Result<Vec<String>, LoadError> {
        self.ask_all(vec![Ask::Services]).await?;
        if let Some(reason) = self.found.refused.remove("") {
            return Err(LoadError::Call(Status::new(
                Code::Unknown,
                format!("the services cannot be listed: {reason}"),
            )));
        }
        let mut services = std::mem::take(&mut self.services);
        services.sort_unstable();
        services.dedup();
        self.ask_all(services.iter().cloned().map(Ask::Symbol).collect()).await?;
        self.found.take_own_services(&services)?;
        let mut asked = 0;
        loop {
            let missing = self.found.take_wanted();
            if missing.is_empty() {
                break;
            }
            asked += missing.len();
            if asked > MAX_FILES {
                return Err(LoadError::TooLarge { what: "files", limit: MAX_FILES });
            }
            self.ask_all(missing.iter().cloned().map(Ask::File).collect()).await?;
            for name in &missing {
                self.found.take_own(name)?;
            }
        }
        Ok(services)
    }

    /// Asks and takes the answers, some questions ahead.
    async fn ask_all(&mut self, asks: Vec<Ask>) -> Result<(), LoadError> {
        let mut waiting = VecDeque::from(asks);
        let mut flying: VecDeque<Ask> = VecDeque::new();
        loop {
            let call = self.call.get_or_insert_with(|| {
                Call::new(self.channel, &self.method, self.metadata.clone(), self.options.clone())
            });
            while flying.len() < IN_FLIGHT
                && let Some(ask) = waiting.pop_front()
            {
                if matches!(&ask, Ask::Symbol(name) if self.found.declares.contains_key(name)) {
                    continue;
                }
                // a failure to send comes back as the call's status
                let _ = call.send_message(ask.encode());
                flying.push_back(ask);
            }
            if flying.is_empty() {
                return Ok(());
            }
            let status = match poll_fn(|cx| call.poll_event(cx)).await {
                Some(ClientEvent::Headers(_)) => continue,
                Some(ClientEvent::Message(message)) => {
                    (self.answered, self.answered_here) = (true, true);
                    // what came twice, or for nothing, counts too: it had to be read
                    self.bytes += message.len();
                    if self.bytes > MAX_BYTES {
                        return Err(LoadError::TooLarge {
                            what: "bytes of descriptors",
                            limit: MAX_BYTES,
                        });
                    }
                    if let Some(ask) = flying.pop_front() {
                        self.take(&ask, &message)?;
                    }
                    continue;
                }
                Some(ClientEvent::Status(status, _)) => status,
                None => Status::new(Code::Internal, "the call ended without a status"),
            };
            self.call = None;
            // some servers end the stream where they should answer with an error: without that question it may go on
            let by_question = self.answered
                && matches!(
                    status.code(),
                    Code::Ok
                        | Code::NotFound
                        | Code::InvalidArgument
                        | Code::Unknown
                        | Code::Internal
                );
            // a stream that brought something may have ended for reasons of its own: its question gets a second chance
            let second_chance = std::mem::take(&mut self.answered_here);
            self.broken_streams += u32::from(!second_chance);
            if !by_question || self.broken_streams > MAX_BROKEN_STREAMS {
                return Err(LoadError::Call(match status.is_ok() {
                    true => Status::new(
                        Code::Internal,
                        "the server ended the stream before its answers",
                    ),
                    false => status,
                }));
            }
            if !second_chance && let Some(ask) = flying.pop_front() {
                self.found.refuse(&ask, format!("the server ended the stream: {status}"));
            }
            while let Some(ask) = flying.pop_back() {
                waiting.push_front(ask);
            }
        }
    }

    fn take(&mut self, ask: &Ask, message: &Bytes) -> Result<(), LoadError> {
        match parse_answer(message) {
            Ok(Answer::Services(names)) => self.services.extend(names),
            Ok(Answer::Files(files)) => {
                for file in files {
                    if let Err(Unreadable) = self.found.add(file)? {
                        self.found.refuse(ask, "the answer is no file descriptor".into());
                    }
                }
            }
            Ok(Answer::Error(code, text)) => {
                let code = Code::from_number(u32::try_from(code).unwrap_or(u32::MAX));
                self.found.refuse(ask, Status::new(code, text).to_string());
            }
            Ok(Answer::TooMany(what)) => {
                return Err(LoadError::TooLarge { what, limit: MAX_FILES });
            }
            Ok(Answer::Other) => self.found.refuse(ask, "the answer is of an unknown kind".into()),
            Err(Unreadable) => {
                let text = "the response is no message of the method's type";
                return Err(LoadError::Call(Status::new(Code::Internal, text)));
            }
        }
        Ok(())
    }
}

fn parse_answer(message: &Bytes) -> Result<Answer, Unreadable> {
    let mut answer = Answer::Other;
    read(message, |number, value| {
        let RawValue::Length(body) = value else { return Ok(()) };
        match number {
            response::FILE_DESCRIPTOR => {
                let mut files = Vec::new();
                read(body, |number, value| {
                    if let (1, RawValue::Length(file)) = (number, value)
                        && files.len() <= MAX_FILES
                    {
                        files.push(share(message, file));
                    }
                    Ok(())
                })?;
                let fits = files.len() <= MAX_FILES;
                answer = if fits { Answer::Files(files) } else { Answer::TooMany("files") };
            }
            response::LIST_SERVICES => {
                let mut names = Vec::new();
                read(body, |number, value| {
                    if let (1, RawValue::Length(service)) = (number, value)
                        && names.len() <= MAX_FILES
                    {
                        names.push(only_text(service)?);
                    }
                    Ok(())
                })?;
                let fits = names.len() <= MAX_FILES;
                answer = if fits { Answer::Services(names) } else { Answer::TooMany("services") };
            }
            response::ERROR => {
                let (mut code, mut reason) = (0, String::new());
                read(body, |number, value| {
                    match (number, value) {
                        (1, RawValue::Varint(value)) => code = value as i32,
                        (2, RawValue::Length(bytes)) => reason = text(bytes)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                answer = Answer::Error(code, reason);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(answer)
}

/// A file, with what the walk needs to know of it.
struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

/// The files that came so far.
#[derive(Default)]
struct Found {
    files: BTreeMap<String, File>,
    /// The file that declares a service.
    declares: HashMap<String, String>,
    /// Why a symbol or a file was not given.
    refused: HashMap<String, String>,
    /// Imports that were not there when they were read of, since the last [`Found::take_wanted`].
    wanted: Vec<String>,
    /// Every import that was ever wanted: none is asked for twice.
    known: HashSet<String>,
    /// Import statements in `files`.
    imports: usize,
}

impl Found {
    fn refuse(&mut self, ask: &Ask, reason: String) {
        self.refused.insert(ask.name().to_owned(), quoted(&reason));
    }

    /// Adds a file; of two with one name the first stays.
    fn add(&mut self, bytes: Bytes) -> Result<Result<(), Unreadable>, LoadError> {
        let Ok((name, file, services)) = parse_file(bytes) else { return Ok(Err(Unreadable)) };
        if self.files.contains_key(&name) {
            return Ok(Ok(()));
        }
        if self.files.len() >= MAX_FILES {
            return Err(LoadError::TooLarge { what: "files", limit: MAX_FILES });
        }
        self.imports += file.imports.len();
        if self.imports > MAX_IMPORTS {
            return Err(LoadError::TooLarge { what: "imports", limit: MAX_IMPORTS });
        }
        for service in services {
            self.declares.entry(service).or_insert_with(|| name.clone());
        }
        self.wanted.extend(
            file.imports.iter().filter(|import| !self.files.contains_key(*import)).cloned(),
        );
        self.files.insert(name, file);
        Ok(Ok(()))
    }

    /// Imports that are not there and were not wanted before.
    fn take_wanted(&mut self) -> Vec<String> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|name| !self.files.contains_key(name) && self.known.insert(name.clone()));
        wanted
    }

    /// Takes a file that is still missing from the engine's own, if they have it.
    fn take_own(&mut self, name: &str) -> Result<(), LoadError> {
        if !self.files.contains_key(name)
            && let Some(bytes) = bundled::schema().file_bytes(name)
        {
            // our own files are readable
            let _ = self.add(bytes)?;
        }
        Ok(())
    }

    /// Takes the files of services the server could not describe from the engine's own, if they have them.
    fn take_own_services(&mut self, services: &[String]) -> Result<(), LoadError> {
        for service in services {
            if !self.declares.contains_key(service)
                && let Some(file) = bundled::schema().file_of_symbol(service)
            {
                self.take_own(file)?;
            }
        }
        Ok(())
    }

    /// The files that cannot be used, each with the import that is missing at its end.
    fn incomplete(&self) -> HashMap<&str, &str> {
        let mut importers: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut incomplete = HashMap::new();
        let mut next = Vec::new();
        for (name, file) in &self.files {
            for import in &file.imports {
                importers.entry(import).or_default().push(name);
                if !self.files.contains_key(import)
                    && incomplete.insert(name.as_str(), import.as_str()).is_none()
                {
                    next.push(name.as_str());
                }
            }
        }
        while let Some(name) = next.pop() {
            let missing = incomplete.get(name).copied().unwrap_or_default();
            for importer in importers.get(name).into_iter().flatten() {
                if !incomplete.contains_key(importer) {
                    incomplete.insert(importer, missing);
                    next.push(importer);
                }
            }
        }
        incomplete
    }

    /// A schema of the files that `services` need.
    fn build(&self, services: &[&str]) -> Result<Schema, SchemaError> {
        let mut wanted: HashSet<&str> = HashSet::new();
        let mut next: Vec<&str> = services
            .iter()
            .filter_map(|name| self.declares.get(*name))
            .map(String::as_str)
            .collect();
        let mut builder = Schema::builder();
        while let Some(name) = next.pop() {
            if let Some(file) = self.files.get(name)
                && wanted.insert(name)
            {
                builder.add_file(file.bytes.clone())?;
                next.extend(file.imports.iter().map(String::as_str));
            }
        }
        builder.build()
    }

    fn into_loaded(self, listed: Vec<String>) -> Loaded {
        let incomplete = self.incomplete();
        let (mut whole, mut skipped) = (Vec::new(), Vec::new());
        for service in &listed {
            let reason = match self.declares.get(service) {
                None => match self.refused.get(service) {
                    Some(reason) => reason.clone(),
                    None => "no file that came declares it".to_owned(),
                },
                Some(file) => match incomplete.get(file.as_str()) {
                    Some(import) => {
                        let why =
                            self.refused.get(*import).map_or("it did not come", String::as_str);
                        format!("the import {:?} is missing: {why}", quoted(import))
                    }
                    None => {
                        whole.push(service.as_str());
                        continue;
                    }
                },
            };
            skipped.push((service.clone(), reason));
        }
        let (mut services, schema) = self.fit(whole, &mut skipped);
        services.sort_unstable();
        skipped.sort_unstable();
        Loaded { schema, services, skipped }
    }

    /// The largest part of `whole` found to fit together, halving what does not.
    fn fit(&self, whole: Vec<&str>, skipped: &mut Vec<(String, String)>) -> (Vec<String>, Schema) {
        let mut good: Vec<&str> = Vec::new();
        let mut schema = Schema::builder().build().unwrap_or_else(|_| bundled::schema().clone());
        let (mut groups, mut builds) = (vec![whole], 0);
        while let Some(group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let all: Vec<&str> = good.iter().chain(&group).copied().collect();
            builds += 1;
            let problem = if builds > MAX_BUILDS {
                "too many services do not fit together".to_owned()
            } else {
                match self.build(&all) {
                    Ok(built) => {
                        (good, schema) = (all, built);
                        continue;
                    }
                    Err(error) => quoted(&error.to_string()),
                }
            };
            if group.len() > 1 && builds <= MAX_BUILDS {
                let (first, second) = group.split_at(group.len() / 2);
                groups.extend([second.to_vec(), first.to_vec()]);
            } else {
                skipped.extend(group.into_iter().map(|name| (name.to_owned(), problem.clone())));
            }
        }
        (good.into_iter().map(str::to_owned).collect(), schema)
    }
}

/// Name, imports (weak ones left out) and services of an encoded `FileDescriptorProto`.
fn parse_file(bytes: Bytes) -> Result<(String, File, Vec<String>), Unreadable> {
    let (mut name, mut package) = (String::new(), String::new());
    let (mut imports, mut services, mut weak) = (Vec::new(), Vec::new(), HashSet::new());
    read(&bytes, |number, value| {
        match (number, value) {
            (1, RawValue::Length(bytes)) => name = text(bytes)?,
            (2, RawValue::Length(bytes)) => package = text(bytes)?,
            // no compiler makes a file like that, and each would cost more memory than it has bytes
            (3 | 6, _) if imports.len() + services.len() >= MAX_FILES => return Err(Unreadable),
            (3, RawValue::Length(bytes)) => imports.push(text(bytes)?),
            (6, RawValue::Length(service)) => services.push(only_text(service)?),
            (11, RawValue::Varint(at)) if weak.len() < MAX_FILES => {
                weak.insert(at);
            }
            _ => {}
        }
        Ok(())
    })?;
    // a package stands in front of every name, so a long one costs far more memory than it has bytes
    if name.is_empty() || package.len() > MAX_PACKAGE_BYTES {
        return Err(Unreadable);
    }
    let mut at = 0u64;
    imports.retain(|_| {
        at += 1;
        !weak.contains(&(at - 1))
    });
    if !package.is_empty() {
        services.iter_mut().for_each(|service| *service = format!("{package}.{service}"));
    }
    Ok((name, File { bytes, imports }, services))
}
