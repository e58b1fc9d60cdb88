//! Reading: scalars, lists, maps, oneofs, names, null, and what is refused.

use super::*;
use JsonErrorKind::{Duplicate, InvalidValue, OutOfRange, TooDeep, UnknownField, WrongType};

#[test]
fn integers_are_exact_however_they_are_written() {
    becomes(
        &three(),
        &[
            (r#"{"i32":1.0}"#, r#"{"i32":1}"#),
            (r#"{"i32":1e2}"#, r#"{"i32":100}"#),
            (r#"{"i32":"1e2"}"#, r#"{"i32":100}"#),
            (r#"{"i32":100e-2}"#, r#"{"i32":1}"#),
            (r#"{"i32":"-2147483648"}"#, r#"{"i32":-2147483648}"#),
            (r#"{"i32":2.147483647e9}"#, r#"{"i32":2147483647}"#),
            (r#"{"i32":-0}"#, "{}"),
            (r#"{"i32":0e99999999999999999999}"#, "{}"),
            (r#"{"i64":9223372036854775807}"#, r#"{"i64":"9223372036854775807"}"#),
            (r#"{"i64":-9223372036854775808}"#, r#"{"i64":"-9223372036854775808"}"#),
            (r#"{"i64":"9007199254740993.0"}"#, r#"{"i64":"9007199254740993"}"#),
            (r#"{"u64":18446744073709551615}"#, r#"{"u64":"18446744073709551615"}"#),
            (r#"{"u64":1844674407370955161500e-2}"#, r#"{"u64":"18446744073709551615"}"#),
            (r#"{"u64":10000000000000000000000000e-20}"#, r#"{"u64":"100000"}"#),
            (r#"{"u64":0.0001E4}"#, r#"{"u64":"1"}"#),
            (r#"{"u32":4294967295}"#, r#"{"u32":4294967295}"#),
            (
                r#"{"s32":-5,"s64":-6,"f32":7,"f64":8,"sf32":-9,"sf64":-10}"#,
                r#"{"s32":-5,"s64":"-6","f32":7,"f64":"8","sf32":-9,"sf64":"-10"}"#,
            ),
        ],
    );
}

#[test]
fn integers_out_of_range_and_fractions_are_refused() {
    all_refused(
        &three(),
        OutOfRange,
        &[
            r#"{"i32":2147483648}"#,
            r#"{"i32":-2147483649}"#,
            r#"{"i32":1.5}"#,
            r#"{"i32":"0.5"}"#,
            r#"{"i32":1e-1}"#,
            r#"{"i32":1e10}"#,
            r#"{"i32":1e400}"#,
            r#"{"i32":1e99999999999999999999}"#,
            r#"{"u32":-1}"#,
            r#"{"u32":4294967296}"#,
            r#"{"i64":9223372036854775808}"#,
            r#"{"i64":-9223372036854775809}"#,
            r#"{"u64":18446744073709551616}"#,
            r#"{"u64":100000000000000000000}"#,
            r#"{"u64":-1}"#,
            r#"{"e":2147483648}"#,
            r#"{"mii":{"2147483648":1}}"#,
        ],
    );
    all_refused(
        &three(),
        InvalidValue,
        &[
            r#"{"i32":"NaN"}"#,
            r#"{"i32":""}"#,
            r#"{"i32":" 1"}"#,
            r#"{"i32":"1 "}"#,
            r#"{"i32":"+1"}"#,
            r#"{"i32":"01"}"#,
            r#"{"i32":"0x1"}"#,
            r#"{"i32":"1."}"#,
            r#"{"i64":"one"}"#,
            r#"{"mii":{"a":1}}"#,
            r#"{"mii":{"":1}}"#,
            r#"{"mbb":{"1":true}}"#,
            r#"{"e":"THREE"}"#,
        ],
    );
}

#[test]
fn floats_are_read_to_the_last_bit_and_printed_as_short_as_that_allows() {
    let ty = three();
    unchanged(
        &ty,
        &[
            r#"{"db":1.5}"#,
            r#"{"db":0.1}"#,
            r#"{"db":1.7976931348623157e308}"#,
            r#"{"db":5e-324}"#,
            r#"{"db":2.2250738585072014e-308}"#,
            r#"{"db":-0.0}"#,
            r#"{"fl":3.4028235e38}"#,
            r#"{"fl":1e-45}"#,
            r#"{"fl":0.1}"#,
            r#"{"fl":16777216}"#,
            r#"{"db":9007199254740993000}"#.replace("9007199254740993000", "9.007199254740993e18").as_str(),
            r#"{"fl":"NaN","db":"NaN"}"#,
            r#"{"fl":"Infinity","db":"-Infinity"}"#,
        ],
    );
    becomes(
        &ty,
        &[
            (r#"{"db":"1.5e3"}"#, r#"{"db":1500}"#),
            (r#"{"db":1E+2}"#, r#"{"db":100}"#),
            (r#"{"db":-0,"fl":"-0e9"}"#, r#"{"fl":-0.0,"db":-0.0}"#),
            (r#"{"db":9007199254740993}"#, r#"{"db":9007199254740992}"#),
            (r#"{"fl":0.10000000149011612}"#, r#"{"fl":0.1}"#),
            (r#"{"fl":1e-50}"#, "{}"),
            (r#"{"db":1e-400}"#, "{}"),
        ],
    );
    all_refused(
        &ty,
        OutOfRange,
        &[r#"{"db":1e400}"#, r#"{"db":-1e309}"#, r#"{"fl":3.5e38}"#, r#"{"fl":"1e39"}"#],
    );
    all_refused(
        &ty,
        InvalidValue,
        &[
            r#"{"db":"nan"}"#,
            r#"{"db":"inf"}"#,
            r#"{"db":"+Infinity"}"#,
            r#"{"db":".5"}"#,
            r#"{"db":""}"#,
            r#"{"fl":"1.5 "}"#,
        ],
    );
    all_refused(
        &ty,
        JsonErrorKind::Syntax,
        &[r#"{"db":NaN}"#, r#"{"db":Infinity}"#, r#"{"db":-Infinity}"#, r#"{"i32":NaN}"#],
    );
}

#[test]
fn every_double_reads_back_bit_by_bit() {
    let ty = three();
    let (db, fl) = (ty.field("db").unwrap(), ty.field("fl").unwrap());
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..2000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits((bits >> 32) as u32));
        if !wide.is_finite() || !narrow.is_finite() {
            continue;
        }
        let mut message = ty.new_message();
        message.set(&db, wide).unwrap();
        message.set(&fl, narrow).unwrap();
        let back = ty.from_json(&message.to_json().unwrap()).unwrap();
        assert_eq!(back.f64(&db).unwrap().to_bits(), wide.to_bits());
        assert_eq!(back.f32(&fl).unwrap().to_bits(), narrow.to_bits());
    }
}

#[test]
fn a_value_of_another_json_type_is_refused() {
    all_refused(
        &three(),
        WrongType,
        &[
            r#"{"i32":true}"#,
            r#"{"i32":[]}"#,
            r#"{"i32":{}}"#,
            r#"{"b":1}"#,
            r#"{"b":"true"}"#,
            r#"{"s":1}"#,
            r#"{"by":1}"#,
            r#"{"db":true}"#,
            r#"{"fl":false}"#,
            r#"{"e":true}"#,
            r#"{"e":[1]}"#,
            r#"{"m":1}"#,
            r#"{"m":[]}"#,
            r#"{"m":"{}"}"#,
            r#"{"ints":1}"#,
            r#"{"ints":{}}"#,
            r#"{"mii":[]}"#,
            r#"[]"#,
            r#"1"#,
            r#""{}""#,
            r#"null"#,
        ],
    );
}

#[test]
fn bytes_come_in_either_alphabet_padded_or_not() {
    becomes(
        &three(),
        &[
            (r#"{"by":"AQI="}"#, r#"{"by":"AQI="}"#),
            (r#"{"by":"AQI"}"#, r#"{"by":"AQI="}"#),
            (r#"{"by":"-_-_"}"#, r#"{"by":"+/+/"}"#),
            (r#"{"by":"-_"}"#, r#"{"by":"+w=="}"#),
            (r#"{"by":""}"#, "{}"),
            (r#"{"mis":{"-1":"AA=="}}"#, r#"{"mis":{"-1":"AA=="}}"#),
        ],
    );
    all_refused(
        &three(),
        InvalidValue,
        &[
            r#"{"by":"A"}"#,
            r#"{"by":"A=="}"#,
            r#"{"by":"AQI=="}"#,
            r#"{"by":"A Q"}"#,
            r#"{"by":"AQ\n"}"#,
            r#"{"by":"é"}"#,
        ],
    );
}

#[test]
fn enums_come_by_name_alias_or_number() {
    becomes(
        &three(),
        &[
            (r#"{"e":"ONE"}"#, r#"{"e":"ONE"}"#),
            (r#"{"e":"TWO"}"#, r#"{"e":"UNO"}"#),
            (r#"{"e":1}"#, r#"{"e":"ONE"}"#),
            (r#"{"e":1.0}"#, r#"{"e":"ONE"}"#),
            (r#"{"e":-1}"#, r#"{"e":"MINUS"}"#),
            (r#"{"e":77}"#, r#"{"e":77}"#),
            (r#"{"e":"ZERO"}"#, "{}"),
            (r#"{"es":["ZERO",1,"TWO"]}"#, r#"{"es":["ZERO","ONE","UNO"]}"#),
        ],
    );
    // a closed enum takes only what it declares
    unchanged(&two(), &[r#"{"e":"SECOND"}"#]);
    all_refused(
        &two(),
        InvalidValue,
        &[r#"{"e":3}"#, r#"{"e":"THIRD"}"#, r#"{"es":[0]}"#, r#"{"me":{"1":9}}"#],
    );
}

#[test]
fn unknown_names_are_refused_or_passed_over_as_told() {
    let (ty, text) =
        (three(), r#"{"nope":{"a":[1,{"b":null}],"c":"\ud83d\ude00"},"i32":1,"more":-1.5e3}"#);
    assert_eq!(refused(&ty, text), UnknownField);
    assert_eq!(ty.from_json_with(text, &lenient()).unwrap().to_json().unwrap(), r#"{"i32":1}"#);
    let enums = r#"{"e":"NEW","es":["ONE","NEW","ZERO"],"mse":{"a":"NEW","b":"ONE"}}"#;
    assert_eq!(refused(&ty, enums), InvalidValue);
    let read = ty.from_json_with(enums, &lenient()).unwrap();
    assert_eq!(read.to_json().unwrap(), r#"{"es":["ONE","ZERO"],"mse":{"b":"ONE"}}"#);
    // even then it has to be JSON, and not too deep
    for text in [
        r#"{"nope":01}"#,
        r#"{"nope":[1,]}"#,
        r#"{"nope":"\ud800"}"#,
        r#"{"nope":tru}"#,
        r#"{"nope":{"a"}}"#,
    ] {
        let kind = ty.from_json_with(text, &lenient()).unwrap_err().kind();
        assert_eq!(kind, JsonErrorKind::Syntax, "{text}");
    }
    let deep = format!(r#"{{"nope":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ty.from_json_with(&deep, &lenient()).unwrap_err().kind(), TooDeep);
}

#[test]
fn a_field_goes_by_its_json_name_and_its_own_and_only_once() {
    let ty = three();
    becomes(
        &ty,
        &[
            (r#"{"twoWords":"a"}"#, r#"{"twoWords":"a"}"#),
            (r#"{"two_words":"a"}"#, r#"{"twoWords":"a"}"#),
            (r#"{"two\u0057ords":"a"}"#, r#"{"twoWords":"a"}"#),
            (r#"{"renamed":"a"}"#, r#"{"other\"name":"a"}"#),
            (r#"{"other\"name":"a"}"#, r#"{"other\"name":"a"}"#),
        ],
    );
    all_refused(
        &ty,
        Duplicate,
        &[
            r#"{"i32":1,"i32":1}"#,
            r#"{"i32":1,"i32":null}"#,
            r#"{"twoWords":"a","two_words":"b"}"#,
            r#"{"m":{},"m":{}}"#,
            r#"{"ints":[1],"ints":[2]}"#,
            r#"{"mii":{"1":1,"1":2}}"#,
            r#"{"mii":{"1":1,"1.0":2}}"#,
            r#"{"msm":{"a":{},"\u0061":{}}}"#,
            r#"{"mbb":{"true":true,"true":false}}"#,
            r#"{"st":{"a":1,"a":2}}"#,
            r#"{"oi":1,"os":"a"}"#,
            r#"{"os":"a","onull":null}"#,
        ],
    );
}

#[test]
fn null_is_absence_but_for_the_types_it_is_a_value_of() {
    becomes(
        &three(),
        &[
            (
                r#"{"i32":null,"s":null,"m":null,"ints":null,"mii":null,"e":null,"by":null,"optInt":null}"#,
                "{}",
            ),
            (
                r#"{"wi64":null,"ts":null,"dur":null,"any":null,"st":null,"list":null,"mask":null,"empty":null}"#,
                "{}",
            ),
            (r#"{"oi":null,"os":"a"}"#, r#"{"os":"a"}"#),
            (r#"{"os":"a","oi":null}"#, r#"{"os":"a"}"#),
            (r#"{"onull":null}"#, r#"{"onull":null}"#),
            (r#"{"onull":"NULL_VALUE"}"#, r#"{"onull":null}"#),
            (r#"{"null":null}"#, "{}"),
            (r#"{"nulls":[null,"NULL_VALUE",0]}"#, r#"{"nulls":[null,null,null]}"#),
            (r#"{"val":null}"#, r#"{"val":null}"#),
            (r#"{"vals":[null,1]}"#, r#"{"vals":[null,1]}"#),
        ],
    );
    all_refused(
        &three(),
        WrongType,
        &[
            r#"{"ints":[null]}"#,
            r#"{"strs":["a",null]}"#,
            r#"{"ms":[null]}"#,
            r#"{"es":[null]}"#,
            r#"{"wis":[null]}"#,
            r#"{"mii":{"1":null}}"#,
            r#"{"msm":{"a":null}}"#,
        ],
    );
}

#[test]
fn presence_survives_zero() {
    unchanged(
        &three(),
        &[r#"{"optInt":0}"#, r#"{"oi":0}"#, r#"{"om":{}}"#, r#"{"m":{}}"#, r#"{"os":""}"#],
    );
    unchanged(&two(), &[r#"{"n":0,"s":""}"#]);
}

#[test]
fn maps_take_every_type_of_key() {
    unchanged(
        &three(),
        &[
            r#"{"mii":{"-1":1,"2147483647":2,"-2147483648":3}}"#,
            r#"{"msm":{"":{},"a\"b":{"i32":1}}}"#,
            r#"{"mbb":{"true":false,"false":true}}"#,
            r#"{"mus":{"18446744073709551615":"a","0":"b"}}"#,
            r#"{"mis":{"-9223372036854775808":"AA=="}}"#,
            r#"{"mff":{"4294967295":0.5}}"#,
        ],
    );
    // enough keys for the index
    let many: Vec<String> = (-50..50).map(|i| format!(r#""{i}":{i}"#)).collect();
    let text = format!(r#"{{"mii":{{{}}}}}"#, many.join(","));
    unchanged(&three(), &[&text]);
    let again = format!(r#"{{"mii":{{{},"-50":0}}}}"#, many.join(","));
    assert_eq!(refused(&three(), &again), Duplicate);
}

#[test]
fn extensions_groups_and_message_sets_have_names_too() {
    let ty = two();
    unchanged(
        &ty,
        &[
            r#"{"[two.xi]":1,"[two.xs]":["a","b"],"[two.xm]":{"n":2,"[two.xi]":3}}"#,
            r#"{"grp":{"insideIt":1}}"#,
        ],
    );
    becomes(
        &ty,
        &[
            (r#"{"[two.xi]":null,"[two.xs]":[]}"#, "{}"),
            (r#"{"grp":{"inside_it":1}}"#, r#"{"grp":{"insideIt":1}}"#),
        ],
    );
    all_refused(&ty, Duplicate, &[r#"{"[two.xi]":1,"[two.xi]":2}"#]);
    all_refused(
        &ty,
        UnknownField,
        &[
            r#"{"[two.nope]":1}"#,
            r#"{"two.xi":1}"#,
            r#"{"[two.M]":1}"#,
            r#"{"[]":1}"#,
            r#"{"[two.Item.item]":{}}"#,
        ],
    );
    let set = schema().message("two.Set").unwrap();
    unchanged(&set, &[r#"{"[two.Item.item]":{"text":"a"}}"#]);
}

#[test]
fn required_fields_are_asked_for_unless_told_otherwise() {
    let ty = two();
    let e = ty.from_json(r#"{"need":{"a":1}}"#).unwrap_err();
    assert_eq!(e.kind(), JsonErrorKind::Required);
    assert!(e.to_string().contains("two.M.need.b"), "{e}");
    let partial = JsonParseOptions::new().allow_partial(true);
    assert!(ty.from_json_with(r#"{"need":{"a":1}}"#, &partial).is_ok());
    unchanged(&ty, &[r#"{"need":{"a":0,"b":""}}"#]);
}

#[test]
fn depth_is_counted_before_it_is_entered() {
    let ty = three();
    let nested = |n: usize| format!("{}{}", r#"{"m":"#.repeat(n - 1) + "{}", "}".repeat(n - 1));
    assert!(ty.from_json(&nested(100)).is_ok());
    assert_eq!(refused(&ty, &nested(101)), TooDeep);
    assert_eq!(refused(&ty, &nested(100_000)), TooDeep);
    // a list of messages is one level, as on the wire
    let listed = |n: usize| format!("{}{}", r#"{"ms":["#.repeat(n - 1) + "{}", "]}".repeat(n - 1));
    assert!(ty.from_json(&listed(100)).is_ok());
    assert_eq!(refused(&ty, &listed(101)), TooDeep);
    for open in [r#"{"val":"#, r#"{"list":"#] {
        assert_eq!(refused(&ty, &format!("{open}{}", "[".repeat(100_000))), TooDeep);
    }
    let structs = format!(r#"{{"st":{}"#, r#"{"a":"#.repeat(100_000));
    assert_eq!(refused(&ty, &structs), TooDeep);
    let anys =
        r#"{"any":"#.to_owned() + &r#"{"@type":"x/google.protobuf.Any","value":"#.repeat(100_000);
    assert_eq!(refused(&ty, &anys), TooDeep);
    // whatever the options say, there is an end
    let deep = JsonParseOptions::new().max_depth(u32::MAX);
    assert!(ty.from_json_with(&nested(200), &deep).is_ok());
    assert_eq!(ty.from_json_with(&nested(201), &deep).unwrap_err().kind(), TooDeep);
    for (open, close) in [(r#"{"val":"#, "}"), (r#"{"val":["#, "]}"), ("[", "]")] {
        let value = schema().message("google.protobuf.Value").unwrap();
        let levels = 200 / (open.len() - open.replace(['{', '['], "").len());
        let text = format!("{}{}", open.repeat(levels - 1) + "[1]", close.repeat(levels - 1));
        let message = value.from_json_with(&text, &deep).unwrap();
        assert_eq!(message.to_json().unwrap(), text);
    }
    let shallow = JsonParseOptions::new().max_depth(1);
    assert_eq!(ty.from_json_with(&nested(2), &shallow).unwrap_err().kind(), TooDeep);
}

#[test]
fn memory_is_bounded() {
    let small = JsonParseOptions::new().max_memory_bytes(4096);
    let text = format!(r#"{{"ms":[{}{{}}]}}"#, "{},".repeat(1000));
    let e = three().from_json_with(&text, &small).unwrap_err();
    assert_eq!(e.kind(), JsonErrorKind::Memory);
    assert!(three().from_json(&text).is_ok());
}

#[test]
fn errors_say_where_in_the_text_and_where_in_the_message() {
    let e = three()
        .from_json("{\n  \"msm\": {\"k\": {\"ms\": [{}, {\"i32\": \"é\", \"x\": 1}]}}\n}")
        .unwrap_err();
    assert_eq!(e.path(), r#"msm["k"].ms[1].i32"#);
    assert_eq!((e.line(), e.column()), (2, 36));
    assert_eq!(
        e.to_string(),
        r#"t.M.msm["k"].ms[1].i32: expected int32, got "é" (line 2, column 36)"#
    );
    let e = three().from_json(r#"{"i32": 1, "twoWord": ""}"#).unwrap_err();
    assert_eq!(e.to_string(), r#"t.M: t.M has no field "twoWord" (line 1, column 12)"#);
    let e = three().from_json("{\"é\": 1}").unwrap_err();
    assert_eq!((e.line(), e.column(), e.offset()), (1, 2, 1));
    let e = two().from_json(r#"{"[two.xm]":{"n":"a"}}"#).unwrap_err();
    assert_eq!(e.path(), "[two.xm].n");
}

#[test]
fn fields_are_told_apart_however_many_there_are() {
    let fields: String = (1..=400).map(|i| format!("int32 f{i} = {i};")).collect();
    let source = format!(r#"syntax = "proto3"; package w; message Wide {{ {fields} }}"#);
    let schema = Schema::from_source([("w.proto", source.as_str())]).unwrap();
    let ty = schema.message("w.Wide").unwrap();
    // backwards, so that no guess is right
    let members: Vec<String> = (1..=400).rev().map(|i| format!(r#""f{i}":{i}"#)).collect();
    let text = format!("{{{}}}", members.join(","));
    assert_eq!(ty.from_json(&text).unwrap().fields().count(), 400);
    for again in [1, 63, 64, 65, 128, 129, 192, 193, 400] {
        let text = format!(r#"{{{},"f{again}":0}}"#, members.join(","));
        assert_eq!(refused(&ty, &text), Duplicate, "f{again}");
    }
}
