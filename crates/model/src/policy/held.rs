//! How many points a policy comes to keep of one machine.

use super::Policy;
use crate::retention::{Class, Keep};
use jiff::civil::{Date, date};

/// Any day will do; counting back from it must not leave the calendar.
const TODAY: Date = date(2400, 12, 31);

/// Points in the vault once the policy has been at work for as long as it keeps any.
pub(super) fn points_held(policy: &Policy) -> u64 {
    let keeps = Keep::all(policy);
    let is_kept = |keep: Keep, day: Date| keep.after(day) > TODAY;
    let daily = Class::daily(policy).map(|class| class.keep);
    let days = std::iter::successors(Some(TODAY), |day| day.yesterday().ok());
    let days = days.take_while(|day| keeps.iter().any(|keep| is_kept(*keep, *day)));
    days.filter(|day| policy.rhythm().runs_on(*day))
        .map(|day| match daily {
            Some(keep) if is_kept(keep, day) => policy.transfers_per_day(),
            _ => u64::from(Class::of_day(policy, day).any(|class| is_kept(class.keep, day))),
        })
        .sum()
}
