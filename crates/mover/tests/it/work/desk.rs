//! A server that does what a test tells it.

use api::client::ClientError;
use api::work::{
    AssignedHost, ClaimRequest, Instruction, Inventory, Order, PictureReport, Report, ReportEvent,
    UsageReport,
};
use api::{Code, Problem};
use async_trait::async_trait;
use jiff::Timestamp;
use model::JobId;
use model::job::{JobKind, Step};
use mover::work::{Server, Settings};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How a report is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    GoOn,
    Cancel,
    Lost,
    /// There is no answer, ever.
    Silence,
    /// There is an error of the server's, and the report was not taken.
    Broken,
}

type Decide = Box<dyn FnMut(&Report) -> Answer + Send>;

/// A server that does what a test tells it. All clones are one.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    orders: Mutex<VecDeque<Order>>,
    decide: Mutex<Decide>,
    hosts: Vec<AssignedHost>,
    told: Mutex<Told>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Told {
    reports: Vec<(JobId, Report)>,
    inventories: Vec<Inventory>,
    usages: Vec<UsageReport>,
}

impl Desk {
    /// A server with these orders, which decides so how each report is answered.
    pub(crate) fn new(orders: Vec<Order>, decide: impl FnMut(&Report) -> Answer + Send + 'static) -> Self {
        Self::with_hosts(orders, Vec::new(), decide)
    }

    pub(crate) fn with_hosts(
        orders: Vec<Order>,
        hosts: Vec<AssignedHost>,
        decide: impl FnMut(&Report) -> Answer + Send + 'static,
    ) -> Self {
        let (changed, _) = watch::channel(0);
        Self(Arc::new(Inner {
            orders: Mutex::new(orders.into()),
            decide: Mutex::new(Box::new(decide)),
            hosts,
            told: Mutex::default(),
            changed,
        }))
    }

    /// One that lets everything go on.
    pub(crate) fn kind(orders: Vec<Order>) -> Self {
        Self::new(orders, |_| Answer::GoOn)
    }

    /// Hands out one more order.
    pub(crate) fn hand_out(&self, order: Order) {
        self.0.orders.lock().expect("no holder panics").push_back(order);
        self.change();
    }

    /// Begins to answer otherwise.
    pub(crate) fn decide(&self, decide: impl FnMut(&Report) -> Answer + Send + 'static) {
        *self.0.decide.lock().expect("no holder panics") = Box::new(decide);
    }

    /// What was reported of a job.
    pub(crate) fn events(&self, job: JobId) -> Vec<ReportEvent> {
        let told = self.0.told.lock().expect("no holder panics");
        told.reports.iter().filter(|(of, _)| *of == job).map(|(_, report)| report.event.clone()).collect()
    }

    /// The same without what says nothing.
    pub(crate) fn news(&self, job: JobId) -> Vec<ReportEvent> {
        self.events(job).into_iter().filter(|event| !matches!(event, ReportEvent::GoesOn {})).collect()
    }

    /// The last report of a job.
    pub(crate) fn last(&self, job: JobId) -> Option<Report> {
        let told = self.0.told.lock().expect("no holder panics");
        told.reports.iter().rev().find(|(of, _)| *of == job).map(|(_, report)| report.clone())
    }

    /// What was measured.
    pub(crate) fn usages(&self) -> Vec<UsageReport> {
        self.0.told.lock().expect("no holder panics").usages.clone()
    }

    pub(crate) fn inventories(&self) -> Vec<Inventory> {
        self.0.told.lock().expect("no holder panics").inventories.clone()
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !is_so(self) {
            changed.changed().await.expect("the desk holds the sender");
            changed.mark_unchanged();
        }
    }

    /// Waits for the last word on an order of this kind, and gives it.
    pub(crate) async fn end_of(&self, order: &Order) -> ReportEvent {
        let (job, kind) = (order.job, order.kind);
        self.until(|desk| desk.news(job).last().is_some_and(|event| is_end(kind, event))).await;
        self.news(job).pop().expect("it was seen")
    }

    fn change(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }
}

fn is_end(kind: JobKind, event: &ReportEvent) -> bool {
    match event {
        ReportEvent::GoesOn {} => false,
        ReportEvent::StepDone { step, .. } => kind.steps().last() == Some(step),
        _ => true,
    }
}

/// Whether a report says that a step is done.
pub(crate) fn says(report: &Report, step: Step) -> bool {
    matches!(&report.event, ReportEvent::StepDone { step: said, .. } if *said == step)
}

#[async_trait]
impl Server for Desk {
    async fn claim(&self, _: &ClaimRequest) -> Result<Option<Order>, ClientError> {
        let mut changed = self.0.changed.subscribe();
        loop {
            let order = self.0.orders.lock().expect("no holder panics").pop_front();
            if order.is_some() {
                return Ok(order);
            }
            changed.changed().await.expect("the desk holds the sender");
        }
    }

    async fn report(&self, job: JobId, report: &Report) -> Result<Instruction, ClientError> {
        let answer = (self.0.decide.lock().expect("no holder panics"))(report);
        if answer != Answer::Broken {
            self.0.told.lock().expect("no holder panics").reports.push((job, report.clone()));
        }
        self.change();
        match answer {
            Answer::GoOn => Ok(Instruction::GoOn { until: Timestamp::UNIX_EPOCH }),
            Answer::Cancel => Ok(Instruction::Cancel {}),
            Answer::Lost => Ok(Instruction::Lost {}),
            Answer::Silence => std::future::pending().await,
            Answer::Broken => {
                let problem = Problem::new(Code::Unavailable, "the catalog does not answer");
                Err(ClientError::Refused(Box::new(problem)))
            }
        }
    }

    async fn picture(&self, _: JobId, _: &PictureReport) -> Result<(), ClientError> {
        Ok(())
    }

    async fn usage(&self, _: JobId, report: &UsageReport) -> Result<(), ClientError> {
        self.0.told.lock().expect("no holder panics").usages.push(report.clone());
        Ok(())
    }

    async fn hosts(&self) -> Result<Vec<AssignedHost>, ClientError> {
        Ok(self.0.hosts.clone())
    }

    async fn tell(&self, inventory: &Inventory) -> Result<(), ClientError> {
        self.0.told.lock().expect("no holder panics").inventories.push(inventory.clone());
        self.change();
        Ok(())
    }
}

/// A mover that works for a desk.
pub(crate) struct Working {
    task: JoinHandle<mover::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Working {
    pub(crate) fn start(desk: &Desk, settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        Self { task: tokio::spawn(mover::work::run(desk.clone(), settings, shutdown)), stop }
    }

    /// Lets it stop as it should.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("it does not panic").expect("it could begin");
    }

    /// Drops it wherever it is, as the death of its process would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
