//! The well-known types.

use super::*;
use JsonErrorKind::{
    Any, Duplicate, InvalidValue, NoJsonForm, OutOfRange, UnknownField, WrongType,
};

#[test]
fn timestamps_are_dates_in_utc() {
    unchanged(
        &three(),
        &[
            r#"{"ts":"1970-01-01T00:00:00Z"}"#,
            r#"{"ts":"0001-01-01T00:00:00Z"}"#,
            r#"{"ts":"9999-12-31T23:59:59.999999999Z"}"#,
            r#"{"ts":"1969-12-31T23:59:59.500Z"}"#,
            r#"{"ts":"2000-02-29T12:30:45.000001Z"}"#,
            r#"{"ts":"2024-02-29T00:00:00.000000001Z"}"#,
            r#"{"ts":"1600-12-31T00:00:00Z"}"#,
        ],
    );
    becomes(
        &three(),
        &[
            (r#"{"ts":"1970-01-01T00:00:00.1Z"}"#, r#"{"ts":"1970-01-01T00:00:00.100Z"}"#),
            (r#"{"ts":"1970-01-01T01:30:00+01:30"}"#, r#"{"ts":"1970-01-01T00:00:00Z"}"#),
            (r#"{"ts":"1969-12-31T16:00:00-08:00"}"#, r#"{"ts":"1970-01-01T00:00:00Z"}"#),
        ],
    );
    all_refused(
        &three(),
        InvalidValue,
        &[
            r#"{"ts":""}"#,
            r#"{"ts":"1970-01-01"}"#,
            r#"{"ts":"1970-01-01T00:00:00"}"#,
            r#"{"ts":"1970-01-01t00:00:00Z"}"#,
            r#"{"ts":"1970-01-01T00:00:00z"}"#,
            r#"{"ts":"1970-01-01 00:00:00Z"}"#,
            r#"{"ts":"1970-1-01T00:00:00Z"}"#,
            r#"{"ts":"1970-01-1T00:00:00Z"}"#,
            r#"{"ts":"1970-13-01T00:00:00Z"}"#,
            r#"{"ts":"1970-00-01T00:00:00Z"}"#,
            r#"{"ts":"1970-04-31T00:00:00Z"}"#,
            r#"{"ts":"1900-02-29T00:00:00Z"}"#,
            r#"{"ts":"1970-01-01T24:00:00Z"}"#,
            r#"{"ts":"1970-01-01T00:60:00Z"}"#,
            r#"{"ts":"1970-01-01T00:00:60Z"}"#,
            r#"{"ts":"1970-01-01T00:00:00.Z"}"#,
            r#"{"ts":"1970-01-01T00:00:00.1234567890Z"}"#,
            r#"{"ts":"1970-01-01T00:00:00+1:00"}"#,
            r#"{"ts":"1970-01-01T00:00:00+01"}"#,
            r#"{"ts":"1970-01-01T00:00:00+24:00"}"#,
            r#"{"ts":"1970-01-01T00:00:00+01:60"}"#,
            r#"{"ts":"1970-01-01T00:00:00ZZ"}"#,
            r#"{"ts":"0001-01-01T00:00:00+00:01"}"#,
            r#"{"ts":"0000-01-01T00:00:00Z"}"#,
            r#"{"ts":"9999-12-31T23:59:59-00:01"}"#,
            r#"{"ts":"+999-12-31T23:59:59Z"}"#,
        ],
    );
    assert_eq!(refused(&three(), r#"{"ts":1}"#), WrongType);
}

#[test]
fn every_day_of_four_centuries_reads_back() {
    let ty = schema().message("google.protobuf.Timestamp").unwrap();
    let seconds = ty.field("seconds").unwrap();
    let mut last = String::new();
    for day in -73_000..73_200i64 {
        let mut message = ty.new_message();
        message.set(&seconds, day * 86_400).unwrap();
        let text = message.to_json().unwrap();
        assert!(text > last, "{text} behind {last}");
        assert_eq!(ty.from_json(&text).unwrap(), message);
        last = text;
    }
}

#[test]
fn durations_are_seconds_with_an_s() {
    unchanged(
        &three(),
        &[
            r#"{"dur":"0s"}"#,
            r#"{"dur":"1.500s"}"#,
            r#"{"dur":"-1.500s"}"#,
            r#"{"dur":"-0.000000001s"}"#,
            r#"{"dur":"315576000000.999999999s"}"#,
            r#"{"dur":"-315576000000s"}"#,
        ],
    );
    becomes(
        &three(),
        &[(r#"{"dur":"1.5s"}"#, r#"{"dur":"1.500s"}"#), (r#"{"dur":"-0s"}"#, r#"{"dur":"0s"}"#)],
    );
    all_refused(
        &three(),
        InvalidValue,
        &[
            r#"{"dur":""}"#,
            r#"{"dur":"s"}"#,
            r#"{"dur":"1"}"#,
            r#"{"dur":"1S"}"#,
            r#"{"dur":"-s"}"#,
            r#"{"dur":"--1s"}"#,
            r#"{"dur":"+1s"}"#,
            r#"{"dur":".5s"}"#,
            r#"{"dur":"1.s"}"#,
            r#"{"dur":"1.-5s"}"#,
            r#"{"dur":"1e1s"}"#,
            r#"{"dur":"1.0000000001s"}"#,
            r#"{"dur":"315576000001s"}"#,
            r#"{"dur":"-315576000001s"}"#,
            r#"{"dur":"99999999999999999999s"}"#,
            r#"{"dur":"1 s"}"#,
        ],
    );
}

#[test]
fn times_out_of_range_have_no_form() {
    let ty = three();
    for (name, seconds, nanos) in [
        ("ts", 253_402_300_800i64, 0),
        ("ts", -62_135_596_801, 0),
        ("ts", i64::MAX, 0),
        ("ts", i64::MIN, 0),
        ("ts", 0, 1_000_000_000),
        ("ts", 0, -1),
        ("dur", 315_576_000_001, 0),
        ("dur", i64::MIN, 0),
        ("dur", 1, -1),
        ("dur", -1, 1),
        ("dur", 0, i32::MIN),
        ("dur", 0, 1_000_000_000),
    ] {
        let mut message = ty.new_message();
        let field = ty.field(name).unwrap();
        let mut inner = message.mutable(&field).unwrap();
        inner.set_by_name("seconds", seconds).unwrap();
        inner.set_by_name("nanos", nanos).unwrap();
        let e = message.to_json().unwrap_err();
        assert_eq!((e.kind(), e.path()), (NoJsonForm, name.to_owned()), "{seconds} {nanos}");
    }
}

#[test]
fn field_masks_change_case_only_where_that_can_be_undone() {
    unchanged(&three(), &[r#"{"mask":""}"#, r#"{"mask":"a"}"#, r#"{"mask":"fooBar.baz,x1"}"#]);
    let read = three().from_json(r#"{"mask":"fooBar.bazQux"}"#).unwrap();
    assert!(format!("{read:?}").contains("foo_bar.baz_qux"));
    all_refused(
        &three(),
        InvalidValue,
        &[r#"{"mask":"foo_bar"}"#, r#"{"mask":"a,"}"#, r#"{"mask":"a,,b"}"#, r#"{"mask":"a b"}"#],
    );
    let ty = schema().message("google.protobuf.FieldMask").unwrap();
    for path in ["fooBar", "foo__bar", "foo_3", "foo_", "foo_Bar", "", "a,b"] {
        let mut message = ty.new_message();
        let field = ty.field("paths").unwrap();
        message.list_mut(&field).unwrap().push(path).unwrap();
        assert_eq!(message.to_json().unwrap_err().kind(), NoJsonForm, "{path}");
    }
}

#[test]
fn structs_values_and_lists_are_plain_json() {
    unchanged(
        &three(),
        &[
            r#"{"st":{"a":1,"b":"x","c":null,"d":[true,{"e":[]}],"f":{}}}"#,
            r#"{"val":1.5}"#,
            r#"{"val":"NaN"}"#,
            r#"{"val":{}}"#,
            r#"{"val":[]}"#,
            r#"{"val":false}"#,
            r#"{"list":[1,[2,[3]],null]}"#,
            r#"{"vals":[null,1,"a",[],{}]}"#,
        ],
    );
    assert_eq!(refused(&three(), r#"{"val":1e400}"#), OutOfRange);
    assert_eq!(refused(&three(), r#"{"list":{}}"#), WrongType);
    assert_eq!(refused(&three(), r#"{"st":[]}"#), WrongType);
    let value = schema().message("google.protobuf.Value").unwrap();
    unchanged(&value, &["null", "1", "\"a\"", "[]", "{}"]);
    assert_eq!(value.new_message().to_json().unwrap_err().kind(), NoJsonForm);
    let mut message = value.new_message();
    message.set_by_name("number_value", f64::NAN).unwrap();
    assert_eq!(message.to_json().unwrap_err().kind(), NoJsonForm);
}

#[test]
fn wrappers_are_their_values_and_present_even_when_zero() {
    unchanged(
        &three(),
        &[
            r#"{"wi64":"0","wd":0,"ws":"","wb":false,"wby":""}"#,
            r#"{"wi64":"-1","wd":"NaN","ws":"a","wb":true,"wby":"AA=="}"#,
            r#"{"wis":[0,1]}"#,
        ],
    );
    becomes(&three(), &[(r#"{"wi64":1e3}"#, r#"{"wi64":"1000"}"#)]);
    assert_eq!(refused(&three(), r#"{"wi64":{"value":1}}"#), WrongType);
    unchanged(&three(), &[r#"{"empty":{}}"#]);
    assert_eq!(refused(&three(), r#"{"empty":{"a":1}}"#), UnknownField);
}

#[test]
fn an_any_holds_its_fields_beside_its_type() {
    unchanged(
        &three(),
        &[
            r#"{"any":{}}"#,
            r#"{"any":{"@type":"type.googleapis.com/t.M","i32":1,"m":{"i32":2}}}"#,
            r#"{"any":{"@type":"x/two.M","[two.xi]":1}}"#,
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}"#,
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Int64Value","value":"7"}}"#,
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Value","value":null}}"#,
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"value":1}}}"#,
            r#"{"any":{"@type":"a/google.protobuf.Any","value":{"@type":"b/google.protobuf.Timestamp","value":"1970-01-01T00:00:00Z"}}}"#,
        ],
    );
    becomes(
        &three(),
        &[
            (r#"{"any":{"i32":1,"@type":"a/t.M"}}"#, r#"{"any":{"@type":"a/t.M","i32":1}}"#),
            (
                r#"{"any":{"value":"1s","@type":"a/google.protobuf.Duration"}}"#,
                r#"{"any":{"@type":"a/google.protobuf.Duration","value":"1s"}}"#,
            ),
            (
                r#"{"any":{"@type":"a/google.protobuf.Empty","value":{}}}"#,
                r#"{"any":{"@type":"a/google.protobuf.Empty"}}"#,
            ),
        ],
    );
    all_refused(
        &three(),
        Any,
        &[
            r#"{"any":{"i32":1}}"#,
            r#"{"any":{"@type":""}}"#,
            r#"{"any":{"@type":"t.M"}}"#,
            r#"{"any":{"@type":"a/t.Nope"}}"#,
            r#"{"any":{"@type":"a/google.protobuf.Duration"}}"#,
        ],
    );
    all_refused(
        &three(),
        Duplicate,
        &[
            r#"{"any":{"@type":"a/t.M","@type":"a/t.M"}}"#,
            r#"{"any":{"@type":"a/t.M","i32":1,"i32":2}}"#,
            r#"{"any":{"@type":"a/google.protobuf.Duration","value":"1s","value":"1s"}}"#,
        ],
    );
    all_refused(
        &three(),
        UnknownField,
        &[
            r#"{"any":{"@type":"a/t.M","value":{}}}"#,
            r#"{"any":{"@type":"a/google.protobuf.Duration","value":"1s","x":1}}"#,
        ],
    );
    assert_eq!(refused(&three(), r#"{"any":{"@type":1}}"#), WrongType);
    assert_eq!(
        refused(&three(), r#"{"any":{"@type":"a/two.Need","a":1}}"#),
        JsonErrorKind::Required
    );
    let read = three()
        .from_json_with(r#"{"any":{"@type":"a/t.M","nope":[],"i32":1}}"#, &lenient())
        .unwrap();
    assert_eq!(read.to_json().unwrap(), r#"{"any":{"@type":"a/t.M","i32":1}}"#);
}

#[test]
fn anys_in_anys_whose_types_come_last_are_read_ahead_once() {
    let deep = JsonParseOptions::new().max_depth(200);
    for levels in [1, 2, 40, 190] {
        let open = r#"{"value":"#.repeat(levels);
        let close = r#","@type":"a/google.protobuf.Any"}"#.repeat(levels);
        let inner =
            format!(r#"{{"s":"{}","@type":"a/t.M","ms":[{{}},{{"any":{{}}}}]}}"#, "x".repeat(1000));
        let any = schema().message("google.protobuf.Any").unwrap();
        let message = any.from_json_with(&format!("{open}{inner}{close}"), &deep).unwrap();
        if levels < 150 {
            let text = message.to_json().unwrap();
            assert!(text.starts_with(r#"{"@type":"a/google.protobuf.Any","value":{"#), "{text}");
            assert_eq!(any.from_json(&text).unwrap(), message);
        }
    }
    // as many as there can be, wide and deep: linear, or this would take minutes
    let wide = format!(
        r#"{{"ms":[{}],"@type":"a/t.M"}}"#,
        vec![r#"{"any":{"i32":1,"@type":"a/t.M"}}"#; 20_000].join(",")
    );
    let text = format!("{}{wide}{}", r#"{"any":"#.repeat(90), r#","@type":"a/t.M"}"#.repeat(90));
    assert!(three().from_json(&format!(r#"{{"any":{text}}}"#)).is_ok());
}

#[test]
fn whatever_depth_was_read_is_printed() {
    let deep = JsonParseOptions::new().max_depth(u32::MAX);
    let any = schema().message("google.protobuf.Any").unwrap();
    for open in [r#"{"@type":"a/google.protobuf.Any","value":"#, r#"{"@type":"a/t.M","any":"#] {
        let text = format!("{}{{}}{}", open.repeat(199), "}".repeat(199));
        let message = any.from_json_with(&text, &deep).unwrap();
        assert_eq!(message.to_json().unwrap(), text);
    }
}

#[test]
fn an_any_that_cannot_be_read_has_no_form() {
    let ty = schema().message("google.protobuf.Any").unwrap();
    for (url, value) in
        [("a/t.Nope", &b""[..]), ("", b"\x08\x01"), ("t.M", b""), ("a/t.M", b"\xff")]
    {
        let mut message = ty.new_message();
        message.set_by_name("type_url", url).unwrap();
        message.set_by_name("value", value).unwrap();
        assert_eq!(message.to_json().unwrap_err().kind(), Any, "{url}");
    }
    // Anys in Anys, deeper than anything may be
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        let mut message = ty.new_message();
        message.set_by_name("type_url", "a/google.protobuf.Any").unwrap();
        message.set_by_name("value", &bytes).unwrap();
        bytes = message.encode().unwrap().to_vec();
    }
    assert_eq!(ty.decode(bytes).unwrap().to_json().unwrap_err().kind(), JsonErrorKind::TooDeep);
    // nor may what they hold together take more memory than any one message
    let mut bytes = vec![0x72, 0x80, 0x80, 0x80, 0x04];
    bytes.resize(bytes.len() + (8 << 20), b'x');
    let mut url = "a/t.M";
    for _ in 0..60 {
        let mut message = ty.new_message();
        message.set_by_name("type_url", url).unwrap();
        message.set_by_name("value", &bytes).unwrap();
        bytes = message.encode().unwrap().to_vec();
        url = "a/google.protobuf.Any";
    }
    assert_eq!(ty.decode(bytes).unwrap().to_json().unwrap_err().kind(), JsonErrorKind::Memory);
}
