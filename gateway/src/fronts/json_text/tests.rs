use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::json_value::{Json, VALUES_MAX};
use super::*;

/// Values of every kind, with strings longer than what is looked at together.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
        "[A-Za-z0-9+/]{0,200}".prop_map(Value::from),
        "[a\"\\\\\u{1}ä]{0,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What is read here is what `serde_json` reads: as a value, and as one that is passed over.
fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(text).ok();
    if let Ok(value) = JsonText::read::<Value>(text) {
        prop_assert_eq!(Some(&value), theirs.as_ref());
    }
    let passes = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    if JsonText::read::<IgnoredAny>(text).is_ok() {
        prop_assert!(passes);
    }
    prop_assert_eq!(check(text).is_ok(), passes);
    prop_assert_eq!(read::<Value>(text).ok(), theirs);
    let kept = serde_json::from_slice::<Json<'_>>(text).ok();
    if let Ok(value) = JsonText::read::<Json<'_>>(text) {
        prop_assert_eq!(Some(&value), kept.as_ref());
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_value_is_read_here_and_is_the_one_that_was_written(value in value(), pretty: bool) {
        let text = match pretty {
            true => serde_json::to_vec_pretty(&value),
            false => serde_json::to_vec(&value),
        };
        let text = text.expect("JSON");
        let theirs: Value = serde_json::from_slice(&text).expect("JSON");
        prop_assert_eq!(JsonText::read::<Value>(&text), Ok(theirs));
        prop_assert_eq!(JsonText::read::<IgnoredAny>(&text), Ok(IgnoredAny));
    }

    #[test]
    fn with_a_byte_changed_or_its_end_missing_it_is_what_serde_json_says(
        value in value(),
        byte: u8,
        at in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
    ) {
        let mut text = serde_json::to_vec(&value).expect("JSON");
        agrees(&text[..end.index(text.len())])?;
        let at = at.index(text.len());
        text[at] = byte;
        agrees(&text)?;
        text.insert(at, byte);
        agrees(&text)?;
    }

    #[test]
    fn so_is_whatever_comes(text in "[\\[\\]{}:,\"\\\\ \n\u{1}a0-1.eE+tnu]{0,24}") {
        agrees(text.as_bytes())?;
    }
}

#[test]
fn texts_at_the_edges_of_the_grammar_are_what_serde_json_says() {
    let numbers = "0 -0 01 1. .1 1e 1e5 1E+05 -1e-5 1e999 -1e999 18446744073709551615 18446744073709551616 \
                   -9223372036854775809 + - 1-1 0x1 NaN Infinity";
    for number in numbers.split_whitespace() {
        agrees(number.as_bytes()).expect(number);
        agrees(format!("[{number},{{\"a\":{number}}}]").as_bytes()).expect(number);
    }
    for text in [
        &b""[..],
        b" ",
        b"nul",
        b"nullx",
        b"null x",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{\"a\":1,}",
        b"{\"a\" 1}",
        b"{\"a\":}",
        b"{a:1}",
        b"{1:1}",
        b"{\"a\":1}}",
        b"[}",
        b"{\"a\":1,\"a\":2}",
        b"\"\\u00e4\\ud83d\\ude00\"",
        b"\"\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\x\"",
        b"\"\\\"",
        b"\"\\\\\"",
        b"\"a\nb\"",
        b"\"\x7f\"",
        b"\"\xff\"",
        b"[\"\xc3\x28\"]",
        b"{\"\xff\":1}",
        b"{\"\\u0061\":1}",
        b"{\"\\ud800\":1}",
        b"\xef\xbb\xbf1",
        b"\x0b1",
        b"1\x0c",
        b"/**/1",
    ] {
        agrees(text).expect("as serde_json");
    }
}

#[test]
fn a_walk_is_for_texts_of_long_strings_alone() {
    let long = "A".repeat(LONG_BYTES);
    for (text, is_long) in [
        (format!(r#"{{"a":"b\"","data":"{long}"}}"#), true),
        (format!(r#"["{long}\n"]"#), true),
        (format!(r#"["{}"]"#, &long[1..]), false),
        (
            format!(r#"{{"data":[{}0]}}"#, "1,".repeat(LONG_BYTES)),
            false,
        ),
        (format!(r#"["{}"]"#, "\\\\".repeat(LONG_BYTES)), false),
        (format!(r#"[{}"{long}"]"#, "\"\",".repeat(LOOKS_MAX)), false),
        (format!("{{\"{}", &long[1..]), false),
        (String::new(), false),
    ] {
        assert_eq!(begins_with_long_string(text.as_bytes()), is_long, "{text}");
        agrees(text.as_bytes()).expect("as serde_json");
    }
}

#[test]
fn what_is_deep_is_read_as_far_as_serde_json_reads_it() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{open}{close}").into_bytes()
    };
    let list = format!("[{}0]", "0,".repeat(VALUES_MAX));
    assert_eq!(
        JsonText::read::<Json<'_>>(list.as_bytes()),
        Ok(Json::Beyond)
    );
    assert!(JsonText::read::<Value>(&nested(DEPTH_MAX)).is_ok());
    for depth in [DEPTH_MAX + 1, 127, 128, 10_000] {
        let text = nested(depth);
        assert_eq!(JsonText::read::<Value>(&text), Err(Unread), "{depth}");
        let theirs = serde_json::from_slice::<Value>(&text).is_ok();
        assert_eq!(read::<Value>(&text).is_ok(), theirs, "{depth}");
        check(&text).expect("what is passed over may be deep");
    }
}

#[test]
fn members_have_their_types_and_a_refusal_is_in_serde_jsons_words() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked<'j> {
        #[serde(borrow)]
        plain: &'j str,
        escaped: String,
        #[serde(default)]
        number: Option<u8>,
        list: Vec<i8>,
    }

    let text = br#"{"plain":"abc","escaped":"a\tb","number":null,"list":[1,-2]}"#;
    let asked = Asked {
        plain: "abc",
        escaped: "a\tb".to_owned(),
        number: None,
        list: vec![1, -2],
    };
    assert_eq!(JsonText::read::<Asked<'_>>(text), Ok(asked));
    for refused in [
        json!({"plain": "a\tb", "escaped": "", "list": []}),
        json!({"plain": "", "escaped": 7, "list": []}),
        json!({"plain": "", "escaped": "", "list": [], "more": 1}),
        json!({"plain": "", "escaped": "", "list": [300]}),
        json!({"plain": "", "list": []}),
    ] {
        let text = refused.to_string();
        let theirs = serde_json::from_str::<Asked<'_>>(&text).expect_err("refused");
        let ours = read::<Asked<'_>>(text.as_bytes()).expect_err("refused");
        assert_eq!(ours.to_string(), theirs.to_string());
    }
}
