//! Tables and properties: what is found, what is refused and where, and that the way the bytes are cut never matters.

use proptest::prelude::*;

use super::raw_result::BOM;
use super::*;
use crate::model::payload::Object;

const MAX: usize = 1 << 20;

type ReadOutcome = (Vec<RawResult>, Option<ParseFault>);

/// Feeds a file in pieces of this many bytes, then its end.
fn split(format: Format, bytes: &[u8], bytes_max: usize, chunk: usize) -> ReadOutcome {
    let mut splitter = Splitter::new(format, bytes_max);
    let mut pieces = Vec::new();
    for mut part in bytes.chunks(chunk) {
        loop {
            match splitter.next(&mut part) {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(bad) => return (pieces, Some(bad)),
            }
        }
    }
    match splitter.finish() {
        Ok(last) => {
            pieces.extend(last);
            (pieces, None)
        }
        Err(bad) => (pieces, Some(bad)),
    }
}

fn texts(found: &ReadOutcome) -> Vec<&str> {
    found.0.iter().filter_map(|piece| piece.text.as_deref().ok()).collect()
}

/// What is wrong with a file, the texts of its pieces included.
fn wrong(format: Format, bytes: &[u8]) -> Vec<String> {
    let (pieces, end) = split(format, bytes, MAX, 7);
    let mut all: Vec<ParseFault> = Vec::new();
    for piece in pieces {
        match piece.text {
            Err(bad) => all.push(bad),
            Ok(text) => all.extend(
                Object::parse(&text)
                    .err()
                    .map(|why| piece.place.bad(&text, &why, piece.ended)),
            ),
        }
    }
    all.extend(end);
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn names_tell_the_format_and_strangers_are_left_alone() {
    let cases = [
        ("a.json", Some(Format::Json)),
        ("a b\n.json", Some(Format::Json)),
        ("a.ndjson", Some(Format::Lines)),
        ("a.jsonl", Some(Format::Lines)),
        ("a.ndjson.tmp", None),
        ("a.json.part", None),
        (".a.json", None),
        (".json", None),
        ("a.txt", None),
        ("a.JSON", None),
        ("ajson", None),
    ];
    for (name, expected) in cases {
        assert_eq!(Format::of(OsStr::new(name)), expected, "{name}");
    }
    assert_eq!(Format::of(OsStr::from_bytes(b"\xff.json")), Some(Format::Json));
}

#[test]
fn a_json_file_is_one_object_or_an_array_of_them() {
    let cases: [(&str, &[&str]); 6] = [
        ("{}", &["{}"]),
        ("\u{feff} {\"a\": 1}\r\n", &["{\"a\": 1}"]),
        ("[{\"a\":1}]", &["{\"a\":1}"]),
        (" [ {\"a\":1} ,\n{\"b\":[{}]} ]\n", &["{\"a\":1}", "{\"b\":[{}]}"]),
        (r#"[{"a":"}]\"{["}]"#, &[r#"{"a":"}]\"{["}"#]),
        (r#"{"a":"\\"}"#, &[r#"{"a":"\\"}"#]),
    ];
    for (file, expected) in cases {
        let found = split(Format::Json, file.as_bytes(), MAX, 1);
        assert_eq!((texts(&found).as_slice(), &found.1), (expected, &None), "{file}");
    }
}

#[test]
fn a_place_is_that_in_the_file() {
    let (pieces, _) = split(Format::Json, b"[\n  {\"a\":1},\n  {\"b\":\n2}]", MAX, 3);
    let places: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.place.line, piece.place.column, piece.place.item))
        .collect();
    assert_eq!(places, [(2, 3, Some(1)), (3, 3, Some(2))]);
    assert_eq!(pieces[1].span, 15..23);
    let (pieces, _) = split(Format::Lines, b"\xef\xbb\xbf{}\r\n\n \n[]\n7", MAX, 2);
    let places: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.place.line, piece.place.column, piece.ended))
        .collect();
    assert_eq!(places, [(1, 4, true), (4, 1, true), (5, 1, false)]);
    assert_eq!(
        (pieces[0].span.clone(), pieces[1].span.clone(), pieces[2].span.clone()),
        (3..6, 10..12, 13..14)
    );
}

#[test]
fn what_is_wrong_with_a_json_file_is_named_with_its_place() {
    let cases: [(&[u8], &str); 20] = [
        (b"", "line 1, column 1: the file is empty"),
        (b" \n ", "line 2, column 2: the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"[]", "line 1, column 2 (item 1): the array is empty"),
        (b"42", "line 1, column 1: it begins with a number"),
        (b"null", "it begins with `n`"),
        (b"\"x\"", "it begins with a string"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"\xef{}", "byte order mark"),
        (
            b"[{},7]",
            "line 1, column 5 (item 2): each item is to be an object; this one begins with a number",
        ),
        (
            b"[[{}]]",
            "(item 1): each item is to be an object; this one begins with an array",
        ),
        (
            b"[{},]",
            "(item 2): each item is to be an object; this one begins with `]`",
        ),
        (b"[{}{}]", "line 1, column 4: not JSON: expected `,` or `]`"),
        (b"{} {}", "line 1, column 4: more behind the end"),
        (b"[{}]\n,", "line 2, column 1: more behind the end"),
        (b"{\"activity_id\": ", "line 1, column 16: not JSON: EOF"),
        (b"[{\"a\":1},\n{\"a\":", "line 2, column 5 (item 2): not JSON: EOF"),
        (b"[{}", "line 1, column 4: not JSON: EOF in the array, behind item 1"),
        (
            b"[{\"a\":1},\n {\"a\":\n  x}]",
            "line 3, column 3 (item 2): not JSON: expected value",
        ),
        (
            b"[\n{\"a\":\"\xe9\"}]",
            "line 2, column 7 (item 1): byte 0xE9 is not UTF-8",
        ),
    ];
    for (file, expected) in cases {
        let all = wrong(Format::Json, file);
        assert_eq!(all.len(), 1, "{file:?}: {all:?}");
        assert!(all[0].contains(expected), "{file:?}: {all:?}");
    }
}

#[test]
fn a_bad_line_is_named_and_the_others_are_found() {
    let file = b"{\"a\":1}\nnot json\n\n[1]\r\n7\n{\"b\":\xff}\n{\"c\":\n{\"d\":4}\n";
    let found = split(Format::Lines, file, MAX, 5);
    assert_eq!(
        texts(&found),
        ["{\"a\":1}", "not json", "[1]", "7", "{\"c\":", "{\"d\":4}"]
    );
    assert_eq!(
        wrong(Format::Lines, file),
        [
            "line 2, column 2: not JSON: expected ident",
            "line 4, column 1: not a JSON object but an array; each result is one object",
            "line 5, column 1: not a JSON object but a number; each result is one object",
            "line 6, column 6: byte 0xFF is not UTF-8; write the file in UTF-8",
            "line 7, column 5: not JSON: EOF while parsing a value",
        ]
    );
    for empty in [&b""[..], b"\n\n", b"\xef\xbb\xbf\r\n "] {
        assert!(wrong(Format::Lines, empty)[0].contains("empty"), "{empty:?}");
    }
}

#[test]
fn only_what_more_bytes_could_mend_counts_as_unfinished() {
    for (format, file, expected) in [
        (Format::Json, &b""[..], true),
        (Format::Json, b"[{\"a\":1},", true),
        (Format::Json, b"{\"a\":\"", true),
        (Format::Json, b"{\"a\":x", false),
        (Format::Json, b"[]", false),
        (Format::Lines, b"\n", true),
    ] {
        let bad = split(format, file, MAX, 2).1.unwrap();
        assert_eq!(bad.unfinished, expected, "{file:?}: {bad}");
    }
    for (line, ended, expected) in [
        ("{\"a\":", false, true),
        ("{\"a\":", true, false),
        ("{\"a\"}", false, false),
        ("[1]", false, false),
    ] {
        let place = Position {
            line: 1,
            column: 1,
            item: None,
        };
        let bad = place.bad(line, &Object::parse(line).unwrap_err(), ended);
        assert_eq!(bad.unfinished, expected, "{line}: {bad}");
    }
}

#[test]
fn a_result_may_have_the_limit_and_not_a_byte_more() {
    for (format, ends) in [(Format::Lines, "\r\n"), (Format::Json, " ")] {
        let file = format!("\u{feff}{{\"a\":\"12345\"}}{ends}");
        assert_eq!(split(format, file.as_bytes(), 13, 4).1, None);
        assert_eq!(texts(&split(format, file.as_bytes(), 13, 4)).len(), 1);
        let (pieces, end) = split(format, file.as_bytes(), 12, 4);
        let bad = end.or_else(|| pieces[0].text.clone().err()).unwrap();
        assert!(bad.why.contains("inbox.max_result_size (12 bytes)"), "{bad}");
    }
}

#[test]
fn a_line_of_any_length_is_held_only_to_the_limit() {
    let mut splitter = LineSplitter::new(1000);
    let block = vec![b'x'; 64 * 1024];
    for _ in 0..100 {
        assert_eq!(splitter.next(&mut block.as_slice()), None);
    }
    let piece = splitter.next(&mut &b"\n{}\n"[..]).unwrap();
    assert!(piece.text.is_err());
    assert_eq!(piece.span, 0..6_553_600);
}

#[test]
fn what_grows_behind_a_last_line_without_its_break_is_the_rest_of_that_line() {
    let mut splitter = LineSplitter::new(MAX);
    assert_eq!(
        splitter.next(&mut &b"{}\n{\"a\":1}"[..]).map(|piece| piece.place.line),
        Some(1)
    );
    assert_eq!(splitter.next(&mut &b"{\"a\":1}"[..]), None);
    let last = splitter.finish().unwrap().unwrap();
    assert_eq!(
        (last.place.line, last.ended, last.text.as_deref()),
        (2, false, Ok("{\"a\":1}"))
    );
    let grown = splitter.next(&mut &b"\r\n{\"b\":2}\n"[..]).unwrap();
    assert_eq!(
        (grown.place.line, grown.place.column, grown.text.as_deref()),
        (3, 1, Ok("{\"b\":2}"))
    );
}

#[test]
fn deep_nesting_needs_no_stack() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    for format in [Format::Json, Format::Lines] {
        let found = split(format, deep.as_bytes(), MAX, 4096);
        assert!(Object::parse(texts(&found)[0]).is_ok());
    }
}

/// Bytes that are often nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(&b"{"[..]),
        Just(&b"}"[..]),
        Just(&b"["[..]),
        Just(&b"]"[..]),
        Just(&b","[..]),
        Just(&b"\"a\":1"[..]),
        Just(&b"\"\\\"}\""[..]),
        Just(&b"\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b" "[..]),
        Just(BOM),
        Just(&b"\xff"[..]),
        Just(&b"{\"a\":1}\n"[..]),
        Just(&b"{\"a\":1},"[..]),
    ];
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_never_matters(bytes in nearly_json(), chunk in 1_usize..9, bytes_max in 4_usize..64) {
        for format in [Format::Json, Format::Lines] {
            let whole = split(format, &bytes, bytes_max, bytes.len().max(1));
            prop_assert_eq!(&split(format, &bytes, bytes_max, chunk), &whole);
            prop_assert_eq!(&split(format, &bytes, bytes_max, 1), &whole);
        }
    }

    #[test]
    fn every_piece_is_the_text_at_its_span(bytes in nearly_json()) {
        for format in [Format::Json, Format::Lines] {
            for piece in split(format, &bytes, MAX, 3).0 {
                let span = usize::try_from(piece.span.start).unwrap()..usize::try_from(piece.span.end).unwrap();
                if let Ok(text) = &piece.text {
                    let raw = &bytes[span];
                    prop_assert_eq!(raw.strip_suffix(b"\r").unwrap_or(raw), text.strip_suffix('\r').unwrap_or(text).as_bytes());
                }
            }
        }
    }

    #[test]
    fn an_array_of_objects_is_found_as_it_was_written(items in proptest::collection::vec("[a-z{}\\[\\],:é]{0,12}", 1..9), gap in "[ \n\r\t]{0,3}") {
        let objects: Vec<String> = items.iter().map(|text| serde_json::json!({ "k": text }).to_string()).collect();
        let file = format!("{gap}[{gap}{}{gap}]{gap}", objects.join(&format!("{gap},{gap}")));
        let found = split(Format::Json, file.as_bytes(), MAX, 5);
        prop_assert_eq!(&found.1, &None);
        prop_assert_eq!(texts(&found), objects.iter().map(String::as_str).collect::<Vec<_>>());
        let lines = split(Format::Lines, objects.join("\r\n").as_bytes(), MAX, 5);
        prop_assert_eq!(texts(&lines), objects.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
