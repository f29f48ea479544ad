//! What a store does on a day of this seed.

use crate::random::Random;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503: nothing happens.
    Refused,
    /// It takes effect; its answer is lost.
    AnswerLost,
    /// Its answer is lost, and it takes effect later.
    Late,
    /// It never ends, and has no effect.
    Hangs,
    /// It takes seconds to minutes.
    Slow,
    /// 409: "it exists already", and nothing was written.
    Taken,
    /// There is no room.
    Full,
    /// The credentials are refused.
    Denied,
    /// The last bytes of what is read are missing.
    Short,
    /// One bit of what is read is another.
    Flipped,
    /// The bytes of another object come.
    Foreign,
    /// A listing breaks off.
    BreaksOff,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Put,
    Get,
    List,
    Delete,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::Refused,
        Self::AnswerLost,
        Self::Late,
        Self::Hangs,
        Self::Slow,
        Self::Taken,
        Self::Full,
        Self::Denied,
        Self::Short,
        Self::Flipped,
        Self::Foreign,
        Self::BreaksOff,
    ];

    fn fits(self, request: Request) -> bool {
        use Request::{Delete, Get, List, Put};
        match self {
            Self::Refused | Self::Hangs | Self::Slow | Self::Denied => true,
            Self::AnswerLost | Self::Late => matches!(request, Put | Delete),
            Self::Taken | Self::Full => request == Put,
            Self::Short | Self::Flipped | Self::Foreign => request == Get,
            Self::BreaksOff => request == List,
        }
    }
}

/// What may happen, how often, and when the store is away.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Requests in a thousand that something happens to.
    per_mille: u64,
    /// What: a few kinds a seed, so that each is also seen alone.
    kinds: Vec<Fault>,
    /// From when to when, in seconds, nothing is answered.
    outages: Vec<std::ops::Range<u64>>,
    /// The longest that a late effect or a slow answer takes, in milliseconds.
    pub(crate) late_millis: u64,
    /// Objects of one page of a listing.
    pub(crate) page: usize,
}

impl Weather {
    /// Draws a day.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let per_mille = *random.one(&[0, 5, 20, 50, 100, 200]);
        let many = 1 + random.below(5);
        let kinds = (0..many).map(|_| *random.one(&Fault::ALL)).collect();
        let outages = (0..random.below(3)).map(|_| {
            let start = random.below(3000);
            start..start + 1 + random.below(120)
        });
        let outages = if per_mille == 0 { Vec::new() } else { outages.collect() };
        let late_millis = *random.one(&[50, 5_000, 90_000, 900_000]);
        Self { per_mille, kinds, outages, late_millis, page: *random.one(&[1, 3, 1000]) }
    }

    /// A day without faults.
    pub(crate) fn calm() -> Self {
        Self { per_mille: 0, kinds: Vec::new(), outages: Vec::new(), late_millis: 1, page: 1000 }
    }

    /// What happens to a request at this second.
    pub(crate) fn fault(&self, request: Request, second: u64, random: &mut Random) -> Option<Fault> {
        if self.outages.iter().any(|outage| outage.contains(&second)) {
            return Some(if random.happens(200) { Fault::Hangs } else { Fault::Refused });
        }
        if !random.happens(self.per_mille) {
            return None;
        }
        let fault = *random.one(&self.kinds);
        fault.fits(request).then_some(fault)
    }

    /// Whether every request is answered, and rightly.
    pub(crate) fn is_calm(&self) -> bool {
        self.per_mille == 0
    }

    /// Whether what is read may be other than what was written.
    pub(crate) fn spoils(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Fault::Short | Fault::Flipped | Fault::Foreign))
    }

    /// Whether a request may be refused for good.
    pub(crate) fn may(&self, kind: Fault) -> bool {
        self.kinds.contains(&kind)
    }
}
