//! How many points a policy comes to keep of one machine.

use super::Policy;
use crate::retention::Class;
use jiff::civil::{Date, date};

/// Any day will do; counting back from it must not leave the calendar.
const TODAY: Date = date(2400, 12, 31);
/// No rule keeps a point for longer than 99 years.
const DAYS_BACK: i32 = 100 * 366;

/// Points in the vault once the policy has been at work for as long as it keeps any.
pub(super) fn points_held(policy: &Policy) -> u64 {
    let days = std::iter::successors(Some(TODAY), |day| day.yesterday().ok()).take(DAYS_BACK as usize);
    let per_day = policy.transfers_per_day();
    let daily = Class::daily(policy).map(|class| class.keep);
    days.filter(|day| policy.rhythm().runs_on(*day))
        .map(|day| {
            let is_kept = |keep: crate::retention::Keep| keep.after(day) > TODAY;
            match daily.filter(|keep| is_kept(*keep)) {
                Some(_) => per_day,
                None => u64::from(Class::of_day(policy, day).any(|class| is_kept(class.keep))),
            }
        })
        .sum()
}
