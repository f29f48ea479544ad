//! Days: weekdays, months, and which days of a month a retention rule tags.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say what they are")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All of them, Monday first.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The weekday of a date.
    pub fn of(day: Date) -> Self {
        let number = day.weekday().to_monday_zero_offset();
        Self::ALL[usize::try_from(number).expect("0 to 6")]
    }
}

/// A month of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say what they are")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Month {
    January,
    February,
    March,
    April,
    May,
    June,
    July,
    August,
    September,
    October,
    November,
    December,
}

impl Month {
    /// All of them, January first.
    pub const ALL: [Self; 12] = [
        Self::January,
        Self::February,
        Self::March,
        Self::April,
        Self::May,
        Self::June,
        Self::July,
        Self::August,
        Self::September,
        Self::October,
        Self::November,
        Self::December,
    ];

    /// The month of a date.
    pub fn of(day: Date) -> Self {
        Self::ALL[usize::try_from(day.month() - 1).expect("0 to 11")]
    }
}

/// Which one of a month's Mondays (Tuesdays, ...): the fourth is also the last if there are only four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say what they are")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum WeekOfMonth {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

impl WeekOfMonth {
    fn holds(self, day: Date) -> bool {
        match self {
            Self::First => day.day() <= 7,
            Self::Second => (8..=14).contains(&day.day()),
            Self::Third => (15..=21).contains(&day.day()),
            Self::Fourth => (22..=28).contains(&day.day()),
            Self::Last => day.day() + 7 > day.days_in_month(),
        }
    }
}

/// Days of a month that a monthly or yearly rule tags, in one of two formats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DaysOfMonth {
    /// Each of the weekdays in each of the weeks: `[first, third]` of `[wednesday, thursday]` are four days.
    Weekly {
        /// Which weekdays.
        weekdays: Vec<Weekday>,
        /// Which ones in the month.
        weeks: Vec<WeekOfMonth>,
    },
    /// Days by their number, and the last one whatever its number.
    Daily {
        /// 1 to 28: what every month has.
        #[serde(default)]
        days: Vec<i8>,
        /// The last day of the month as well.
        #[serde(default)]
        last_day: bool,
    },
}

impl DaysOfMonth {
    /// Whether the rule tags that day.
    pub fn holds(&self, day: Date) -> bool {
        match self {
            Self::Weekly { weekdays, weeks } => {
                weekdays.contains(&Weekday::of(day)) && weeks.iter().any(|week| week.holds(day))
            }
            Self::Daily { days, last_day } => {
                days.contains(&day.day()) || (*last_day && day == day.last_of_month())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn tagged(on: &DaysOfMonth, year: i16, month: i8) -> Vec<i8> {
        let first = date(year, month, 1);
        let days = first.series(jiff::Span::new().days(1)).take_while(|day| day.month() == month);
        days.filter(|day| on.holds(*day)).map(Date::day).collect()
    }

    #[test]
    fn fourth_and_last_differ_in_long_months() {
        use WeekOfMonth::*;
        let on = |weeks: &[WeekOfMonth]| DaysOfMonth::Weekly {
            weekdays: vec![Weekday::Sunday],
            weeks: weeks.to_vec(),
        };
        // March 2026 has five Sundays, February four.
        assert_eq!(tagged(&on(&[First, Fourth, Last]), 2026, 3), [1, 22, 29]);
        assert_eq!(tagged(&on(&[Fourth]), 2026, 2), tagged(&on(&[Last]), 2026, 2));
        assert_eq!(tagged(&on(&[First, Second, Third, Fourth, Last]), 2026, 3), [1, 8, 15, 22, 29]);
    }

    #[test]
    fn last_day_follows_the_month() {
        let on = DaysOfMonth::Daily { days: vec![1], last_day: true };
        assert_eq!(tagged(&on, 2027, 2), [1, 28]);
        assert_eq!(tagged(&on, 2028, 2), [1, 29]);
        assert_eq!(tagged(&on, 2028, 12), [1, 31]);
    }
}
