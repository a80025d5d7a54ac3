//! Statements for many rows at once.

use std::fmt::Write as _;

/// The most rows of one statement.
const LARGEST: usize = 64;

/// The most items of a list.
const LARGEST_LIST: usize = 256;

/// The items in chunks whose lengths are powers of two: a statement differs with the number of its rows, and few
/// different statements stay prepared.
pub(super) fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let largest = items.len().min(LARGEST);
        let length = if largest == 0 { return None } else { 1 << largest.ilog2() };
        let (chunk, rest) = items.split_at(length);
        items = rest;
        Some(chunk)
    })
}

/// As [`chunks`], for lists in which it does not matter that an item stands there twice: what is missing to a power of
/// two is filled with the last one, so that a few statements do.
pub(super) fn repeated_chunks<T: Copy>(items: &[T]) -> impl Iterator<Item = Vec<T>> {
    items.chunks(LARGEST_LIST).map(|chunk| {
        let mut list = chunk.to_vec();
        list.resize(chunk.len().next_power_of_two(), chunk[chunk.len() - 1]);
        list
    })
}

/// Placeholders for rows, as in `($2,$3),($4,$5)`: the first is `$first`.
pub(super) fn rows(first: usize, rows: usize, width: usize) -> String {
    let mut text = String::with_capacity(rows * (width * 6 + 3));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        list_into(&mut text, first + row * width, width);
        text.push(')');
    }
    text
}

/// Placeholders for a list, as in `$2,$3`: the first is `$first`.
pub(super) fn list(first: usize, length: usize) -> String {
    let mut text = String::with_capacity(length * 6);
    list_into(&mut text, first, length);
    text
}

fn list_into(text: &mut String, first: usize, length: usize) {
    for index in 0..length {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}${}", first + index).expect("a String takes all that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_powers_of_two_and_leave_nothing_out() {
        let items: Vec<u32> = (0..201).collect();
        let lengths: Vec<usize> = chunks(&items).map(<[u32]>::len).collect();
        assert_eq!(lengths, [64, 64, 64, 8, 1]);
        assert_eq!(chunks(&items).flatten().copied().collect::<Vec<_>>(), items);
        assert_eq!(chunks::<u32>(&[]).count(), 0);
    }

    #[test]
    fn repeated_chunks_fill_up_to_a_power_of_two() {
        let items: Vec<u32> = (0..261).collect();
        let lists: Vec<Vec<u32>> = repeated_chunks(&items).collect();
        assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [256, 8]);
        assert_eq!(lists[1], [256, 257, 258, 259, 260, 260, 260, 260]);
        assert_eq!(repeated_chunks::<u32>(&[]).count(), 0);
    }

    #[test]
    fn placeholders_count_on_from_row_to_row() {
        assert_eq!(rows(2, 2, 3), "($2,$3,$4),($5,$6,$7)");
        assert_eq!(list(3, 2), "$3,$4");
    }
}
