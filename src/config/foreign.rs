//! Keys that people bring from other tools, and what to write here in their place.
//!
//! A known word is answered by this and never by a likeness in spelling: `fields` is no slip for `filters`. A key that the
//! table does have is never asked for here.

/// A line for each kind of table and thing meant.
const TABLE: &str = include_str!("foreign.txt");

/// What is said about words in the tables of one kind.
struct Row {
    /// The table by what it holds: `sinks` for each sink, `retry` for that of any sink, `-` for the file itself.
    table: &'static str,
    words: &'static str,
    /// The key that does it; `-` when there is none.
    key: &'static str,
    help: &'static str,
}

/// What to write in the place of a key, by its path in the file. `known` are the keys that its table has.
pub(super) fn help(path: &[&str], known: &[&str]) -> Option<&'static str> {
    let (name, parents) = path.split_last()?;
    let table = match parents {
        [] => "-",
        ["defaults", "webhook"] => "sinks",
        [section] => section,
        ["sources" | "filters" | "transforms" | "templates" | "sinks", _] => parents.first()?,
        [.., inner] => inner,
    };
    let plain = plain(name);
    let fits = |row: &Row| {
        let is_meant = row.table == table && row.words.split(' ').any(|word| word == plain);
        is_meant && (row.key == "-" || known.contains(&row.key))
    };
    rows().find(fits).map(|row| row.help)
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut cells = line.splitn(4, " | ");
        Some(Row { table: cells.next()?, words: cells.next()?, key: cells.next()?, help: cells.next()? })
    })
}

fn plain(word: &str) -> String {
    word.chars().filter(|character| !"_-.".contains(*character)).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_answered_where_its_key_is_known() {
        let sink =
            |name: &'static str| help(&["sinks", "crm", name], &["form", "body", "url", "retry", "from", "headers"]);
        assert!(sink("form_data").unwrap().contains("form = {"));
        assert!(sink("max_retries").unwrap().contains("max_attempts"));
        assert_eq!(sink("frm"), None);
        let kafka = |name: &'static str| help(&["sources", "orders", name], &["brokers", "topics", "options"]);
        assert!(kafka("bootstrap.servers").unwrap().contains("brokers = ["));
        assert!(kafka("topic").unwrap().contains("topics = ["));
        assert_eq!(kafka("path"), None, "of a file source only");
        let amqp = |name: &'static str| help(&["sources", "orders", name], &["uri", "queue"]);
        assert!(amqp("topic").unwrap().contains("queue ="));
        assert!(help(&["defaults", "webhook", "bearer"], &["headers"]).unwrap().contains("Bearer ${env:TOKEN}"));
        assert!(help(&["sinks", "crm", "retry", "attempts"], &["max_attempts"]).is_some());
        assert!(help(&["webhooks"], &["sinks"]).unwrap().contains("[sinks.crm]"));
    }

    #[test]
    fn words_are_written_as_they_are_compared() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
        assert_eq!(rows().count(), lines, "every line is a row");
        for row in rows() {
            for word in row.words.split(' ') {
                assert_eq!(plain(word), word);
            }
        }
    }
}
