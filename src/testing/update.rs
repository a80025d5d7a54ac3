//! Writes what was found into the text of a pipeline file, in the place of what its tests expect. Comments and layout of
//! everything else stay as they are.
//!
//! What must not or cannot be written is left as it is, and said: secrets, bytes that are no text, and a `null` in JSON,
//! which TOML lacks.

use serde_json::Value as Json;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value};

use super::judge::{Content, Difference, Mismatch, Part, content_of};
use crate::pipeline::trial::Outcome;
use crate::secret::mask;

/// A pipeline file with other expectations.
#[derive(Debug, PartialEq, Eq)]
pub struct Updated {
    /// The file's text.
    pub text: String,
    /// What was left as it was, and why: a sentence each.
    pub left: Vec<String>,
}

/// Changes the expectations of tests, given by their index in the file with what is not as they expect it.
///
/// # Errors
/// When the text is not TOML.
pub fn update(text: &str, failed: &[(usize, Vec<Mismatch<'_>>)]) -> Result<Updated, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut left = Vec::new();
    for (index, mismatches) in failed {
        let test = document.get_mut("tests").and_then(|tests| table_at(tests, *index));
        if let Some(expect) = test.and_then(|test| test.get_mut("expect")) {
            update_test(expect, mismatches, &mut left);
        }
    }
    Ok(Updated { text: document.to_string(), left })
}

fn update_test(expect: &mut Item, mismatches: &[Mismatch<'_>], left: &mut Vec<String>) {
    for mismatch in mismatches {
        if let Mismatch::Different { index, node, differences } = mismatch
            && let Some(table) = table_at(expect, *index)
        {
            for difference in differences {
                if let Err(why) = replace(table, difference) {
                    left.push(format!("{node}: `{}` is left as it is: {why}", difference.part.key()));
                }
            }
        }
    }
    // From the last, so that the indices of the others stay right.
    for mismatch in mismatches.iter().rev() {
        if let Mismatch::Missing { index, .. } = mismatch {
            remove(expect, *index);
        }
    }
    let was_empty = expect.as_array().is_some_and(Array::is_empty);
    for mismatch in mismatches {
        if let Mismatch::Unexpected(outcome) = mismatch {
            push(expect, expectation(outcome));
        }
    }
    if let Some(array) = expect.as_array_mut().filter(|array| was_empty && array.len() > 1) {
        spread(array);
    }
}

/// Puts what was found in the place of what is expected.
fn replace(table: &mut dyn TableLike, difference: &Difference) -> Result<(), &'static str> {
    let Difference { part, found, .. } = difference;
    let found = found.as_ref().ok_or("there is nothing such, so take it out by hand")?;
    let value = match (part, found) {
        (Part::BodyContains(_), _) => return Err("the body does not hold the text, so change that by hand"),
        (Part::BodyJson, Content::Text(_)) => return Err("the body is not JSON"),
        (_, content) => written(content)?,
    };
    let (table, key) = match part {
        Part::Header(name) => (within(table, "headers"), name.as_str()),
        Part::Json(query) => (within(table, "json"), query.as_str()),
        Part::Method => (Some(table), "method"),
        Part::Url => (Some(table), "url"),
        Part::WebhookId => (Some(table), "webhook_id"),
        Part::Body => (Some(table), "body"),
        Part::BodyContains(_) => (Some(table), "body_contains"),
        Part::BodyJson => (Some(table), "body_json"),
        Part::Reason => (Some(table), "reason"),
    };
    // An expectation that differs in a part has a key for it.
    let Some(item) = table.and_then(|table| table.get_mut(key)) else { return Ok(()) };
    let mut value = value;
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
    Ok(())
}

/// The expectation of something that comes.
fn expectation(outcome: &Outcome) -> InlineTable {
    let mut table = InlineTable::new();
    match outcome {
        Outcome::Delivery(attempt) => {
            table.insert("sink", (*attempt.sink).into());
            let parts = [("url", Content::Text(attempt.url.to_string())), body(&attempt.body)];
            for (key, content) in parts {
                // A part that cannot be written need not be expected.
                if let Ok(value) = written(&content) {
                    table.insert(key, value);
                }
            }
        }
        Outcome::DeadLetter { node, reason, .. } => {
            table.insert("dead_letter", node.to_string().into());
            table.insert("reason", reason.as_str().into());
        }
    }
    table
}

fn body(body: &[u8]) -> (&'static str, Content) {
    match serde_json::from_slice::<Json>(body) {
        Ok(json) if to_toml(&json).is_some() => ("body_json", Content::Json(json)),
        _ => ("body", content_of(body)),
    }
}

/// The value as it may stand in the file.
fn written(content: &Content) -> Result<Value, &'static str> {
    let text = match content {
        Content::Text(text) => text.clone(),
        Content::Json(value) => value.to_string(),
        Content::Binary(_) => return Err("it is not text"),
    };
    if mask(&text) != text {
        return Err("it holds a secret");
    }
    match content {
        Content::Json(json) => to_toml(json).ok_or("TOML has no `null` and no such number; expect `body` instead"),
        _ => Ok(string(&text)),
    }
}

fn to_toml(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None if number.is_f64() => number.as_f64()?.into(),
            None => return None,
        },
        Json::String(text) => string(text),
        Json::Array(elements) => elements.iter().map(to_toml).collect::<Option<Array>>()?.into(),
        Json::Object(members) => {
            let mut table = InlineTable::new();
            for (name, value) in members {
                table.insert(name, to_toml(value)?);
            }
            table.into()
        }
    })
}

/// A string that is not taken for a reference when the file is read.
fn string(text: &str) -> Value {
    text.replace("${", "$${").into()
}

/// A table of an array, however the array is written.
fn table_at(item: &mut Item, index: usize) -> Option<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(array)) => {
            let table = array.get_mut(index)?.as_inline_table_mut()?;
            Some(table)
        }
        _ => None,
    }
}

fn within<'a>(table: &'a mut dyn TableLike, key: &str) -> Option<&'a mut dyn TableLike> {
    table.get_mut(key)?.as_table_like_mut()
}

fn remove(expect: &mut Item, index: usize) {
    match expect {
        Item::ArrayOfTables(tables) => {
            tables.remove(index);
            if tables.is_empty() {
                // Without a table there would be no key, and a test must say that it expects nothing.
                *expect = toml_edit::value(Array::new());
            }
        }
        Item::Value(Value::Array(array)) => {
            array.remove(index);
            tidy(array);
        }
        _ => {}
    }
}

fn push(expect: &mut Item, expectation: InlineTable) {
    match expect {
        Item::ArrayOfTables(tables) => push_table(tables, expectation),
        Item::Value(Value::Array(array)) => push_inline(array, expectation),
        _ => {}
    }
}

fn push_table(tables: &mut ArrayOfTables, expectation: InlineTable) {
    let mut table: Table = expectation.into_table();
    table.fmt();
    tables.push(table);
}

/// Adds an element laid out as those before it.
fn push_inline(array: &mut Array, expectation: InlineTable) {
    let mut value = Value::from(expectation);
    let last = array.len().checked_sub(1).and_then(|last| array.get_mut(last));
    if let Some(last) = last {
        let text = |raw: Option<&toml_edit::RawString>| raw.and_then(toml_edit::RawString::as_str).map(str::to_owned);
        let before = text(last.decor().prefix()).unwrap_or_default();
        let after = text(last.decor().suffix()).unwrap_or_default();
        last.decor_mut().set_suffix("");
        let indentation = before.rfind('\n').map_or(" ", |line| &before[line..]);
        value.decor_mut().set_prefix(indentation);
        value.decor_mut().set_suffix(after);
    }
    array.push_formatted(value);
}

/// Gives each element a line of its own.
fn spread(array: &mut Array) {
    for element in array.iter_mut() {
        element.decor_mut().set_prefix("\n  ");
    }
    array.set_trailing_comma(true);
    array.set_trailing("\n");
}

/// Takes the blank away that separated the first element from one that is gone.
fn tidy(array: &mut Array) {
    if let Some(first) = array.get_mut(0)
        && first.decor().prefix().and_then(toml_edit::RawString::as_str) == Some(" ")
    {
        first.decor_mut().set_prefix("");
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::super::attempt;
    use super::super::judge::judge;
    use super::*;
    use crate::config::test_case::TestCase;
    use crate::store::record::Reason;

    fn delivery(sink: &str, body: &'static str) -> Outcome {
        attempt(sink, "http://h/eu", HeaderMap::new(), body)
    }

    fn letter(node: &str) -> Outcome {
        Outcome::DeadLetter { node: node.parse().unwrap(), reason: Reason::Undecodable, message: "no".into() }
    }

    /// The file with one test, updated with what its event becomes.
    fn updated(expect: &str, outcomes: &[Outcome]) -> Updated {
        let text = format!("# top\n[[tests]] # one\nname = 't'\nsource = 's'\nevent = {{}}\n{expect} # end\n");
        let updated = update(&text, &[(0, judge(&test(&text), outcomes))]).unwrap();
        if updated.left.is_empty() {
            assert_eq!(judge(&test(&updated.text), outcomes), [], "it passes now: {}", updated.text);
        }
        let (before, after) = updated.text.split_once("event = {}\n").unwrap();
        assert_eq!(before, "# top\n[[tests]] # one\nname = 't'\nsource = 's'\n");
        Updated { text: after.to_owned(), left: updated.left }
    }

    fn test(text: &str) -> TestCase {
        #[derive(serde::Deserialize)]
        struct File {
            tests: Vec<TestCase>,
        }
        // As it is read from a pipeline file.
        toml::from_str::<File>(&text.replace("$${", "${")).unwrap().tests.remove(0)
    }

    #[test]
    fn only_what_differs_is_written() {
        let expect =
            "expect = [\n  # the CRM\n  { sink = 'a', url = \"http://h/us\" , body_json = { n = 1 } },  # why\n]";
        let Updated { text, left } = updated(expect, &[delivery("a", r#"{"n": 1.0}"#)]);
        assert_eq!(left, [""; 0]);
        insta::assert_snapshot!(text, @r#"
        expect = [
          # the CRM
          { sink = 'a', url = "http://h/eu" , body_json = { n = 1 } },  # why
        ] # end
        "#);
    }

    #[test]
    fn what_does_not_come_is_taken_out_and_what_comes_is_added() {
        let one_line = "expect = [{ sink = 'a' }, { sink = 'b' }, { dead_letter = 'sinks.c' }]";
        let outcomes = [delivery("b", "1"), delivery("d", r#"{"t": "a \"${x}\""}"#), letter("sinks.e")];
        insta::assert_snapshot!(updated(one_line, &outcomes).text, @r#"expect = [{ sink = 'b' }, { sink = "d", url = "http://h/eu", body_json = { t = 'a "$${x}"' } }, { dead_letter = "sinks.e", reason = "undecodable" }] # end"#);
        let lines = "expect = [\n  { sink = 'b' }\n]";
        insta::assert_snapshot!(updated(lines, &outcomes[..2]).text, @r#"
        expect = [
          { sink = 'b' },
          { sink = "d", url = "http://h/eu", body_json = { t = 'a "$${x}"' } }
        ] # end
        "#);
        insta::assert_snapshot!(updated("expect = []", &[delivery("a", r#"{"n": null}"#)]).text, @r#"expect = [{ sink = "a", url = "http://h/eu", body = '{"n": null}' }] # end"#);
        insta::assert_snapshot!(updated("expect = []", &outcomes).text, @r#"
        expect = [
          { sink = "b", url = "http://h/eu", body_json = 1 },
          { sink = "d", url = "http://h/eu", body_json = { t = 'a "$${x}"' } },
          { dead_letter = "sinks.e", reason = "undecodable" },
        ] # end
        "#);
        insta::assert_snapshot!(updated("expect = [{ sink = 'a' }]", &[]).text, @"expect = [] # end");
    }

    #[test]
    fn tables_of_their_own_are_kept_so() {
        let expect =
            "[[tests.expect]]\nsink = 'a'\n\n  [tests.expect.json]\n  '$.n' = 1\n\n[[tests.expect]]\nsink = 'b'";
        insta::assert_snapshot!(updated(expect, &[delivery("a", r#"{"n": [2]}"#), letter("sinks.c")]).text, @r#"
        [[tests.expect]]
        sink = 'a'

          [tests.expect.json]
          '$.n' = [2]

        [[tests.expect]]
        dead_letter = "sinks.c"
        reason = "undecodable"
        "#);
    }

    #[test]
    fn what_cannot_be_written_is_left_and_said() {
        crate::secret::register("hunter2-update");
        for (expect, body, why) in [
            ("body = 'x'", "my hunter2-update", "holds a secret"),
            ("body_json = { n = 1 }", r#"{"n": null}"#, "no `null`"),
            ("body_json = { n = 1 }", "no JSON", "the body is not JSON"),
            ("headers = { X-None = 'x' }", "", "by hand"),
        ] {
            let expect = format!("expect = [{{ sink = 'a', {expect} }}]");
            let Updated { text, left } = updated(&expect, &[delivery("a", body)]);
            assert_eq!(text, format!("{expect} # end\n"));
            assert!(left.len() == 1 && left[0].contains(why), "{left:?}");
        }
        let added = updated("expect = []", &[delivery("a", "my hunter2-update")]).text;
        assert!(!added.contains("hunter2"), "{added}");
    }
}
