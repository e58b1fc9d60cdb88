//! The vocabulary of options, by name, unit and range. Sizes are bytes, times are seconds (`float`) or `timedelta`.

use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDelta, PyDict, PyString};
use stubless_engine::client::ChannelOptions;
use stubless_engine::compression::Encoding;
use stubless_engine::server::ServerOptions;

use crate::tls::Tls;

/// The longest time an option takes: about 136 years.
const MOST_SECONDS: f64 = u32::MAX as f64;

fn wrong(name: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let shown = given.repr().map(|repr| repr.to_string()).unwrap_or_default();
    PyValueError::new_err(format!("option {name}: {allowed}, not {shown}"))
}

/// Seconds, or a `timedelta`; infinity is as long as can be said.
pub(crate) fn duration(
    name: &str,
    given: &Bound<'_, PyAny>,
    least: Duration,
) -> PyResult<Duration> {
    let seconds: f64 = if given.cast::<PyDelta>().is_ok() {
        given.call_method0("total_seconds")?.extract()?
    } else {
        given.extract().map_err(|_| {
            PyTypeError::new_err(format!("option {name}: seconds (a number) or a timedelta"))
        })?
    };
    if seconds.is_nan() || seconds < least.as_secs_f64() {
        let allowed = format!("{} seconds or more", least.as_secs_f64());
        return Err(wrong(name, &allowed, given));
    }
    Ok(Duration::from_secs_f64(seconds.min(MOST_SECONDS)))
}

/// A time where `None` or infinity means never.
fn or_never(name: &str, given: &Bound<'_, PyAny>, least: Duration) -> PyResult<Option<Duration>> {
    if given.is_none() || given.extract::<f64>().is_ok_and(|seconds| seconds == f64::INFINITY) {
        return Ok(None);
    }
    duration(name, given, least).map(Some)
}

pub(crate) fn number(name: &str, given: &Bound<'_, PyAny>, least: u64, most: u64) -> PyResult<u64> {
    let allowed = || format!("a whole number from {least} to {most}");
    if given.is_instance_of::<pyo3::types::PyBool>() {
        return Err(wrong(name, &allowed(), given));
    }
    match given.extract::<u64>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(wrong(name, &allowed(), given)),
    }
}

fn size(name: &str, given: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(number(name, given, 0, u64::from(u32::MAX))? as usize)
}

fn window(name: &str, given: &Bound<'_, PyAny>) -> PyResult<u32> {
    Ok(number(name, given, 65_535, (1 << 31) - 1)? as u32)
}

pub(crate) fn flag(name: &str, given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.extract().map_err(|_| wrong(name, "True or False", given))
}

fn text(name: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    given.extract().map_err(|_| wrong(name, "a str", given))
}

pub(crate) fn encoding(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Encoding> {
    let names = || Encoding::ALL.iter().map(|e| e.name()).collect::<Vec<_>>().join(", ");
    given
        .cast::<PyString>()
        .ok()
        .and_then(|text| Encoding::from_name(text.to_str().ok()?.as_bytes()))
        .ok_or_else(|| wrong(name, &format!("one of {}", names()), given))
}

pub(crate) fn unknown(what: &str, name: &str, allowed: &[&str]) -> PyErr {
    PyTypeError::new_err(format!("{what} has no option {name:?}; it takes {}", allowed.join(", ")))
}

/// What a channel may be told.
pub(crate) const CHANNEL: &[&str] = &[
    "schema",
    "tls",
    "authority",
    "user_agent",
    "interceptors",
    "default_timeout",
    "wait_for_ready",
    "compression",
    "max_receive_message_bytes",
    "max_send_message_bytes",
    "max_metadata_bytes",
    "keepalive_time",
    "keepalive_timeout",
    "keepalive_without_calls",
    "idle_timeout",
    "connect_timeout",
    "initial_backoff",
    "max_backoff",
    "stream_window_bytes",
    "connection_window_bytes",
];

/// What a call may be told.
pub(crate) const CALL: &[&str] = &[
    "timeout",
    "metadata",
    "wait_for_ready",
    "compression",
    "max_receive_message_bytes",
    "max_send_message_bytes",
    "raw",
];

/// What a server may be told.
pub(crate) const SERVER: &[&str] = &[
    "schema",
    "tls",
    "interceptors",
    "compression",
    "max_receive_message_bytes",
    "max_send_message_bytes",
    "max_metadata_bytes",
    "max_concurrent_streams",
    "max_concurrent_calls",
    "handler_threads",
    "keepalive_time",
    "keepalive_timeout",
    "min_ping_interval",
    "max_connection_age",
    "max_connection_age_grace",
    "max_connection_idle",
    "debug_errors",
];

/// A channel's options but for `schema` and `interceptors`, which its caller keeps.
pub(crate) fn channel(given: &Bound<'_, PyDict>) -> PyResult<ChannelOptions> {
    let mut options = ChannelOptions::default();
    let second = Duration::from_secs(1);
    for (key, value) in given.iter() {
        let name = key.extract::<String>()?;
        let name = name.as_str();
        if value.is_none() && !matches!(name, "idle_timeout" | "keepalive_time") {
            if CHANNEL.contains(&name) {
                continue;
            }
            return Err(unknown("a channel", name, CHANNEL));
        }
        match name {
            "schema" | "interceptors" => {}
            "tls" => {
                options.tls = match value.extract::<bool>() {
                    Ok(false) => None,
                    Ok(true) => {
                        let system =
                            stubless_engine::transport::tls::ClientTls::new(&Default::default());
                        Some(system.map_err(|error| crate::errors::refused(&error))?)
                    }
                    Err(_) => match value.cast::<Tls>() {
                        Ok(tls) => Some(tls.get().0.clone()),
                        Err(_) => return Err(wrong(name, "a stubless.TLS, True or False", &value)),
                    },
                };
            }
            "authority" => options.authority = Some(text(name, &value)?),
            "user_agent" => options.user_agent = Some(text(name, &value)?),
            "default_timeout" => {
                options.default_timeout = Some(duration(name, &value, Duration::ZERO)?)
            }
            "wait_for_ready" => options.wait_for_ready = flag(name, &value)?,
            "compression" => options.compression = encoding(name, &value)?,
            "max_receive_message_bytes" => options.max_receive_message_bytes = size(name, &value)?,
            "max_send_message_bytes" => options.max_send_message_bytes = size(name, &value)?,
            "max_metadata_bytes" => {
                options.max_metadata_bytes = size(name, &value)?;
                let list = u32::try_from(options.max_metadata_bytes).unwrap_or(u32::MAX);
                options.http2.max_header_list_bytes = options.http2.max_header_list_bytes.max(list);
            }
            "keepalive_time" => options.keepalive.time = or_never(name, &value, 10 * second)?,
            "keepalive_timeout" => {
                options.keepalive.timeout = duration(name, &value, second / 1000)?
            }
            "keepalive_without_calls" => options.keepalive.without_calls = flag(name, &value)?,
            "idle_timeout" => options.idle_timeout = or_never(name, &value, second / 1000)?,
            "connect_timeout" => {
                options.backoff.min_connect_timeout = duration(name, &value, second / 1000)?
            }
            "initial_backoff" => options.backoff.initial = duration(name, &value, second / 1000)?,
            "max_backoff" => options.backoff.max = duration(name, &value, second / 1000)?,
            "stream_window_bytes" => options.http2.stream_window_bytes = window(name, &value)?,
            "connection_window_bytes" => {
                options.http2.connection_window_bytes = window(name, &value)?
            }
            _ => return Err(unknown("a channel", name, CHANNEL)),
        }
    }
    Ok(options)
}

/// What a server's Python side needs to know of its options.
pub(crate) struct Served {
    pub options: ServerOptions,
    pub handler_threads: usize,
    pub debug_errors: bool,
}

/// A server's options but for `schema`, `tls` and `interceptors`, which its caller keeps.
pub(crate) fn server(given: &Bound<'_, PyDict>) -> PyResult<Served> {
    let mut options = ServerOptions::default();
    let (mut handler_threads, mut debug_errors) = (256, false);
    let second = Duration::from_secs(1);
    for (key, value) in given.iter() {
        let name = key.extract::<String>()?;
        let name = name.as_str();
        if value.is_none() && name != "keepalive_time" {
            if SERVER.contains(&name) {
                continue;
            }
            return Err(unknown("a server", name, SERVER));
        }
        match name {
            "schema" | "interceptors" | "tls" => {}
            "compression" => options.compression = encoding(name, &value)?,
            "max_receive_message_bytes" => options.max_receive_message_bytes = size(name, &value)?,
            "max_send_message_bytes" => options.max_send_message_bytes = size(name, &value)?,
            "max_metadata_bytes" => {
                options.max_metadata_bytes = size(name, &value)?;
                let list = u32::try_from(options.max_metadata_bytes).unwrap_or(u32::MAX);
                options.http2.max_header_list_bytes = options.http2.max_header_list_bytes.max(list);
            }
            "max_concurrent_streams" => {
                options.http2.max_concurrent_streams =
                    number(name, &value, 1, (1 << 31) - 1)? as u32;
            }
            "max_concurrent_calls" => {
                options.max_concurrent_calls =
                    Some(number(name, &value, 1, u64::from(u32::MAX))? as usize);
            }
            "handler_threads" => handler_threads = number(name, &value, 1, 10_000)? as usize,
            "keepalive_time" => options.keepalive_time = or_never(name, &value, second / 1000)?,
            "keepalive_timeout" => {
                options.keepalive_timeout = duration(name, &value, second / 1000)?
            }
            "min_ping_interval" => {
                options.ping_policy.min_interval = duration(name, &value, Duration::ZERO)?
            }
            "max_connection_age" => {
                options.max_connection_age = or_never(name, &value, second / 1000)?
            }
            "max_connection_age_grace" => {
                options.max_connection_age_grace = or_never(name, &value, Duration::ZERO)?
            }
            "max_connection_idle" => {
                options.max_connection_idle = or_never(name, &value, second / 1000)?
            }
            "debug_errors" => debug_errors = flag(name, &value)?,
            _ => return Err(unknown("a server", name, SERVER)),
        }
    }
    Ok(Served { options, handler_threads, debug_errors })
}
