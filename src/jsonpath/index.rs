//! Of many conditions on one value, those that may hold, without asking each: conditions that compare the same member
//! with literals (`$.data.tenant == 'a'`, `$.data.tenant == 'b'`, …) are looked up by the value of that member.
//!
//! The index only rules out; whether one of the others holds, it is asked itself. So what a condition means is said in one
//! place, and this module cannot say otherwise.

use std::collections::HashMap;

use serde_json::Value;

use super::Condition;
use super::comparison::Scalar;
use super::evaluation::{self, Operand, Operator, Path, Scope};
use super::singular::SingularPath;

/// Conditions by what they cannot hold without. `T` names a condition.
#[derive(Debug, Clone)]
pub struct ConditionIndex<T> {
    groups: Vec<Group<T>>,
    /// Those that nothing rules out.
    others: Vec<T>,
}

/// Conditions that cannot hold unless the path finds certain values.
#[derive(Debug, Clone)]
struct Group<T> {
    path: SingularPath,
    by_value: HashMap<Scalar<'static>, Vec<T>>,
}

/// What a condition cannot hold without: that the path finds one of these values, each of which is there once.
#[derive(Debug, Clone)]
struct Requirement {
    path: SingularPath,
    one_of: Vec<Scalar<'static>>,
}

/// To ask fewer costs no more than to look them up.
const SMALLEST_GROUP: usize = 4;

impl<T: Copy> ConditionIndex<T> {
    /// An index of these conditions.
    pub fn new<'a>(conditions: impl IntoIterator<Item = (T, &'a Condition)>) -> Self {
        let all: Vec<_> = conditions.into_iter().map(|(name, condition)| (name, requirements(&condition.0))).collect();
        let frequencies = frequencies(all.iter().flat_map(|(_, requirements)| requirements));
        let mut members: HashMap<&SingularPath, Vec<(T, &[Scalar<'static>])>> = HashMap::new();
        let mut others = Vec::new();
        for (name, requirements) in &all {
            // Where all compare the type and each its own tenant, the tenant rules out more.
            match requirements.iter().min_by_key(|requirement| requirement.frequency(&frequencies)) {
                Some(Requirement { path, one_of }) => members.entry(path).or_default().push((*name, one_of)),
                None => others.push(*name),
            }
        }
        let mut groups = Vec::new();
        for (path, members) in members {
            if members.len() < SMALLEST_GROUP {
                others.extend(members.into_iter().map(|(name, _)| name));
            } else {
                groups.push(Group::new(path.clone(), members));
            }
        }
        Self { groups, others }
    }

    /// Whether there is anything to look up.
    pub fn rules_out_any(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The conditions that may hold for a value, which is both `$` and the outermost `@`; each once. No other holds.
    pub fn candidates<'a>(&'a self, value: &'a Value) -> impl Iterator<Item = T> + 'a {
        let found = self.groups.iter().flat_map(|group| group.candidates(value));
        self.others.iter().chain(found).copied()
    }
}

impl<T> Group<T> {
    fn new(path: SingularPath, members: Vec<(T, &[Scalar<'static>])>) -> Self
    where
        T: Copy,
    {
        let mut by_value: HashMap<_, Vec<T>> = HashMap::new();
        for (name, one_of) in members {
            one_of.iter().for_each(|value| by_value.entry(value.clone()).or_default().push(name));
        }
        Self { path, by_value }
    }

    fn candidates<'a>(&'a self, value: &'a Value) -> &'a [T] {
        let found = self.path.find(Scope { root: value, current: value }).and_then(Scalar::of);
        found.and_then(|found| self.by_value.get(&found)).map_or(&[], Vec::as_slice)
    }
}

impl Requirement {
    fn has(&self, value: &Scalar<'_>) -> bool {
        self.one_of.contains(value)
    }

    /// With how many conditions, at most, it is found together.
    fn frequency(&self, frequencies: &HashMap<(&SingularPath, &Scalar<'static>), usize>) -> usize {
        let of_values = self.one_of.iter().map(|value| frequencies.get(&(&self.path, value)).copied());
        of_values.max().flatten().unwrap_or_default()
    }

    /// The requirement of two conditions of which one holds: nothing is required of a path that only one of them has.
    fn or(mut self, others: &[Requirement]) -> Option<Self> {
        let other = others.iter().find(|other| other.path == self.path)?;
        let added: Vec<_> = other.one_of.iter().filter(|value| !self.has(value)).cloned().collect();
        self.one_of.extend(added);
        Some(self)
    }
}

/// How many conditions require each value of each path.
fn frequencies<'a>(
    requirements: impl Iterator<Item = &'a Requirement>,
) -> HashMap<(&'a SingularPath, &'a Scalar<'static>), usize> {
    let mut frequencies = HashMap::new();
    for requirement in requirements {
        for value in &requirement.one_of {
            *frequencies.entry((&requirement.path, value)).or_default() += 1;
        }
    }
    frequencies
}

/// All that is known of what a condition requires, each of which rules it out alone.
fn requirements(condition: &evaluation::Condition) -> Vec<Requirement> {
    match condition {
        evaluation::Condition::Compares { left, operator: Operator::Equal, right } => {
            comparison(left, right).or_else(|| comparison(right, left)).into_iter().collect()
        }
        evaluation::Condition::All(parts) => parts.iter().flat_map(requirements).collect(),
        evaluation::Condition::Any(parts) => {
            let mut parts = parts.iter().map(requirements);
            let first = parts.next().unwrap_or_default();
            parts.fold(first, |known, part| known.into_iter().filter_map(|one| one.or(&part)).collect())
        }
        _ => Vec::new(),
    }
}

fn comparison(member: &Operand, literal: &Operand) -> Option<Requirement> {
    let (Operand::Only(Path::Singular(path)), Operand::Literal(literal)) = (member, literal) else { return None };
    Some(Requirement { path: path.at_root(), one_of: vec![Scalar::of(literal)?.into_owned()] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn index(conditions: &[Condition]) -> ConditionIndex<usize> {
        ConditionIndex::new(conditions.iter().enumerate())
    }

    fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Condition> {
        texts.into_iter().map(|text| Condition::parse(text.as_ref()).unwrap()).collect()
    }

    fn candidates(conditions: &[Condition], value: &Value) -> Vec<usize> {
        let mut candidates: Vec<_> = index(conditions).candidates(value).collect();
        candidates.sort_unstable();
        candidates
    }

    #[test]
    fn of_a_thousand_comparisons_one_is_asked() {
        let all = parse((0..1000).map(|n| format!("$.data.tenant == 't{n}'")));
        assert_eq!(candidates(&all, &json!({"data": {"tenant": "t7"}})), [7]);
        assert!(candidates(&all, &json!({"data": {"tenant": "t1000"}})).is_empty());
        assert!(candidates(&all, &json!({"data": {"tenant": ["t7"]}})).is_empty());
        assert!(candidates(&all, &json!({"data": 5})).is_empty());
    }

    #[test]
    fn the_comparison_that_rules_out_most_is_looked_up() {
        let all =
            parse((0..9).map(|n| format!("@.type == 'paid' && ($.n > 2 && {n}.0 == $.tenant) && $.region == 'eu'")));
        assert_eq!(candidates(&all, &json!({"type": "paid", "tenant": 3})), [3]);
    }

    #[test]
    fn alternatives_are_looked_up_when_all_compare_one_member() {
        let mut all = parse((0..5).map(|n| format!("$.a == {n} || $.b == 1 && $.a == {}.0 || ({n} == @.a)", n + 1)));
        all.extend(parse(["$.a == 1 || $.b == 1", "!($.a == 9)", "$.a != 9", "$.a == $.b", "$.b", "$.a >= 1"]));
        assert_eq!(candidates(&all, &json!({"a": 1})), [0, 1, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_few_comparisons_are_just_asked() {
        let few = parse(["$.a == 1", "$.a == 2", "$.a == 3", "$.b == 1"]);
        assert_eq!((index(&few).rules_out_any(), candidates(&few, &json!({"a": 1}))), (false, vec![0, 1, 2, 3]));
    }

    fn any_condition() -> impl Strategy<Value = String> {
        let path = "[$@](\\.[ab]|\\['a'\\]|\\[0\\]|\\[-1\\]){0,2}|value\\(\\$\\.\\.b\\)";
        let literal =
            "0|1|1\\.0|-0\\.0|0\\.5|1e0|'1'|\"a\"|'a'|''|true|false|null|9007199254740993|18446744073709551615";
        let operator = prop_oneof![4 => Just("=="), 1 => proptest::sample::select(vec!["!=", "<=", ">"])];
        let comparison = (path, operator, literal, any::<bool>()).prop_map(|(path, operator, literal, swapped)| {
            if swapped { format!("{literal} {operator} {path}") } else { format!("{path} {operator} {literal}") }
        });
        let leaf = prop_oneof![8 => comparison, 1 => Just("$.a == $.b".to_owned()), 1 => Just("@..a".to_owned())];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let parts = proptest::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                (parts, any::<bool>()).prop_map(|(parts, all)| {
                    let parts: Vec<_> = parts.iter().map(|part| format!("({part})")).collect();
                    parts.join(if all { " && " } else { " || " })
                }),
                inner.prop_map(|part| format!("!({part})")),
            ]
        })
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaves = [
            json!(0),
            json!(1),
            json!(1.0),
            json!(-0.0),
            json!(0.5),
            json!("1"),
            json!("a"),
            json!(""),
            json!(true),
            json!(null),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_992.0),
            json!(u64::MAX),
            json!(1.8446744073709552e19),
        ];
        let leaf = proptest::sample::select(leaves.to_vec());
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// To ask the candidates comes to the same as to ask all.
        #[test]
        fn what_is_ruled_out_does_not_hold(
            texts in proptest::collection::vec(any_condition(), 1..24),
            values in proptest::collection::vec(any_value(), 1..8),
        ) {
            let all = parse(&texts);
            for value in &values {
                let holding: Vec<_> = (0..all.len()).filter(|name| all[*name].holds(value)).collect();
                let mut found = candidates(&all, value);
                found.retain(|name| all[*name].holds(value));
                prop_assert_eq!(found, holding, "{} {:?}", value, texts);
            }
        }
    }
}
