//! How often a request goes again that the receiver says it has not processed, before that counts as a failed attempt.
//! Pure.

/// The requests of one delivery's next attempt that were not processed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unprocessed {
    in_all: u8,
    without_answer: u8,
    answers_by_then: u64,
}

/// So often while the receiver answers nothing else: it takes no requests at all.
const MOST_WITHOUT_ANSWER: u8 = 8;

/// So often while it answers others. One that takes only a few requests on each connection may leave many out.
const MOST_IN_ALL: u8 = 100;

impl Unprocessed {
    /// Notes one more. `answers` is how many the receiver has given so far, to whatever. False when it is to count as a
    /// failed attempt.
    pub fn goes_again(&mut self, answers: u64) -> bool {
        if answers > self.answers_by_then {
            self.without_answer = 0;
        }
        self.answers_by_then = answers;
        self.without_answer = self.without_answer.saturating_add(1);
        self.in_all = self.in_all.saturating_add(1);
        self.without_answer <= MOST_WITHOUT_ANSWER && self.in_all <= MOST_IN_ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_again_longer_while_the_receiver_answers_others_but_not_for_ever() {
        let mut unprocessed = Unprocessed::default();
        assert_eq!((0..50).take_while(|_| unprocessed.goes_again(7)).count(), usize::from(MOST_WITHOUT_ANSWER));
        let mut unprocessed = Unprocessed::default();
        assert_eq!((1..500).take_while(|answers| unprocessed.goes_again(*answers)).count(), usize::from(MOST_IN_ALL));
    }
}
