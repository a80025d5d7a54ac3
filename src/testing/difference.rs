//! Where two texts or two JSON values differ, line by line. It must be given text in which secrets are masked.

use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::judge::json_equal;

/// One line of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// On which side it is.
    pub side: Side,
    /// The line, without its end.
    pub text: String,
}

/// On which side a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Expected and not found.
    Expected,
    /// Found and not expected.
    Found,
    /// Both.
    Both,
    /// Not a line of either: it points at something.
    Hint,
}

impl Line {
    /// A line on a side.
    pub fn new(side: Side, text: impl Into<String>) -> Self {
        Self { side, text: text.into() }
    }
}

/// Equal lines that are shown around those that differ.
const CONTEXT: usize = 3;

/// The lines in which two texts differ, with some of those around them. Of two single lines, the place is marked.
pub fn of_texts(expected: &str, found: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(expected, found);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            lines.push(Line::new(Side::Hint, "…"));
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let side = match change.tag() {
                ChangeTag::Delete => Side::Expected,
                ChangeTag::Insert => Side::Found,
                ChangeTag::Equal => Side::Both,
            };
            let text = change.value();
            lines.push(Line::new(side, text.strip_suffix('\n').unwrap_or(text)));
        }
    }
    lines.extend(hint(expected, found));
    lines
}

/// The lines in which two values differ when each is written over lines. What is equal is written alike: members stand
/// in the order of `expected`.
pub fn of_json(expected: &Value, found: &Value) -> Vec<Line> {
    let found = in_the_manner_of(expected, found);
    of_texts(&format!("{expected:#}\n"), &format!("{found:#}\n"))
}

/// `value` with its members in the order of `model`'s, and each number that equals the model's written like it.
fn in_the_manner_of(model: &Value, value: &Value) -> Value {
    match (model, value) {
        (model @ Value::Number(_), value @ Value::Number(_)) if json_equal(model, value) => model.clone(),
        (Value::Array(model), Value::Array(elements)) => {
            let element = |(index, element)| {
                model.get(index).map_or_else(|| Value::clone(element), |m| in_the_manner_of(m, element))
            };
            elements.iter().enumerate().map(element).collect()
        }
        (Value::Object(model), Value::Object(members)) => {
            let known =
                model.iter().filter_map(|(name, model)| Some((name, in_the_manner_of(model, members.get(name)?))));
            let mut ordered: Map<String, Value> = known.map(|(name, value)| (name.clone(), value)).collect();
            let others = members.iter().filter(|(name, _)| !model.contains_key(*name));
            ordered.extend(others.map(|(name, value)| (name.clone(), value.clone())));
            ordered.into()
        }
        (_, value) => value.clone(),
    }
}

/// What a reader would have to look for: where two lines begin to differ, or an end that cannot be seen.
fn hint(expected: &str, found: &str) -> Option<Line> {
    let count = |text: &str| text.len() - text.trim_end_matches('\n').len();
    let (at_expected, at_found) = (count(expected), count(found));
    if at_expected != at_found {
        let text = format!("line breaks at the end: {at_expected} expected, {at_found} found");
        return Some(Line::new(Side::Hint, text));
    }
    let is_one_line = |text: &str| !text.is_empty() && !text.contains('\n');
    if expected == found || !is_one_line(expected) || !is_one_line(found) {
        return None;
    }
    let same = expected.chars().zip(found.chars()).take_while(|(expected, found)| expected == found).count();
    Some(Line::new(Side::Hint, format!("{}^", " ".repeat(same))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(lines: &[Line]) -> String {
        let sign = |side| match side {
            Side::Expected => "-",
            Side::Found => "+",
            Side::Both | Side::Hint => " ",
        };
        lines.iter().map(|line| format!("{}|{}\n", sign(line.side), line.text)).collect()
    }

    #[test]
    fn the_place_in_a_line_is_marked() {
        insta::assert_snapshot!(shown(&of_texts("Order o-1: 120 EUR", "Order o-1: 12 EUR")), @r"
        -|Order o-1: 120 EUR
        +|Order o-1: 12 EUR
         |             ^
        ");
        insta::assert_snapshot!(shown(&of_texts("a\n", "a")), @r"
        -|a
        +|a
         |line breaks at the end: 1 expected, 0 found
        ");
        insta::assert_snapshot!(shown(&of_texts("", "a")), @"+|a");
    }

    #[test]
    fn equal_lines_far_away_are_left_out() {
        let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let expected = lines.join("\n");
        let found = expected.replace("\n2\n", "\ntwo\n").replace("\n17\n", "\n");
        insta::assert_snapshot!(shown(&of_texts(&expected, &found)), @r"
         |0
         |1
        -|2
        +|two
         |3
         |4
         |5
         |…
         |14
         |15
         |16
        -|17
         |18
         |19
        ");
    }

    #[test]
    fn json_is_compared_by_its_members() {
        let expected = json!({"id": "o-1", "total": 120, "items": [{"sku": "a", "n": 1}], "gone": true});
        let found = json!({"items": [{"n": 1.0, "sku": "b"}], "total": 120.0, "id": "o-1", "new": null});
        insta::assert_snapshot!(shown(&of_json(&expected, &found)), @r#"
         |  "total": 120,
         |  "items": [
         |    {
        -|      "sku": "a",
        +|      "sku": "b",
         |      "n": 1
         |    }
         |  ],
        -|  "gone": true
        +|  "new": null
         |}
        "#);
    }

    proptest! {
        #[test]
        fn different_texts_always_show_a_difference(expected in "[ab\n]{0,12}", found in "[ab\n]{0,12}") {
            let lines = of_texts(&expected, &found);
            let differs = lines.iter().any(|line| matches!(line.side, Side::Expected | Side::Found));
            prop_assert_eq!(differs, expected != found);
        }
    }
}
