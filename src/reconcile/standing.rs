//! Before a run: is this the storage that the index is about? Asks the storage and the index, and binds the two.

use uuid::Uuid;

use super::guard::Refusal;
use super::identity::{Binding, Decision, Seen, Standing, decide, unbound, unreadable_marker};
use super::proof::prove;
use super::reconciler::Reconciler;
use super::report::Report;
use super::stop::Stop;
use crate::clock;
use crate::error::Error;
use crate::index::{IndexError, Writer};
use crate::model::Identity;
use crate::storage::{Doubt, MarkerError, MarkerState, StorageReader, Trouble};

/// What is known before a run.
#[derive(Debug)]
pub(super) struct Ground {
    /// How the run stands to its storage.
    pub(super) standing: Standing,
    /// Said of the run as a whole, which only looks and goes on.
    pub(super) refusal: Option<Refusal>,
}

/// What a look at marker and index says, without a run.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// What the storage says; nothing when markers are not asked for, and what it says changes nothing.
    pub marker: Option<MarkerState>,
    /// The id that the index is bound to.
    pub bound: Option<Uuid>,
    /// What a run would be told.
    pub verdict: RunVerdict,
}

/// What a run would be told by the storage's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunVerdict {
    /// It would go on.
    Go,
    /// It would be refused as a whole.
    Refused(Refusal),
    /// Nobody can say.
    Trouble(Trouble),
}

/// Why an index could not be bound.
enum Unbound {
    Trouble(Trouble),
    Refused(Refusal),
}

/// What the records of an index that is bound to nothing come to.
enum Proven {
    Enough,
    TooFew(Refusal, Option<Doubt>),
}

impl Reconciler {
    /// Looks whether a run may go on, and binds the index for one that writes. Nothing when the report says why not.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub(super) async fn stand(
        &self,
        writer: Option<&Writer>,
        goes_on: bool,
        report: &mut Report,
    ) -> Result<Option<Ground>, Error> {
        let seen = match self.see().await {
            Ok(seen) => seen,
            Err(trouble) => {
                report.fail(trouble.code, with_hint(&trouble));
                return Ok(None);
            }
        };
        let bound = self.index.binding().await?;
        let decision = decide(self.identity, bound, seen, self.index.has_records().await?);
        let binding = match decision {
            Decision::Unchecked => return Ok(Some(Ground { standing: Standing::Unchecked, refusal: None })),
            Decision::Go(id) => return Ok(Some(Ground { standing: Standing::Known(id), refusal: None })),
            Decision::Refuse(refusal) => {
                report.refusal = Some(refusal);
                return Ok(None);
            }
            Decision::Bind(binding) => binding,
            Decision::Prove(binding) => match self.proven().await {
                Ok(Proven::Enough) => binding,
                Ok(Proven::TooFew(refusal, _)) if goes_on => {
                    return Ok(Some(Ground { standing: Standing::New, refusal: Some(refusal) }));
                }
                Ok(Proven::TooFew(_, Some(doubt @ Doubt::BrokenOff { last: None, .. }))) => {
                    report.fail(doubt.code(), doubt.to_string());
                    return Ok(None);
                }
                Ok(Proven::TooFew(refusal, doubt)) => {
                    if let Some(doubt) = doubt {
                        report.note(doubt.code(), doubt.to_string(), None);
                    }
                    report.refusal = Some(refusal);
                    return Ok(None);
                }
                Err(stop) => {
                    report.fail(stop.code(), stop.to_string());
                    return Ok(None);
                }
            },
        };
        match self.bind(binding, writer).await? {
            Ok(standing) => Ok(Some(Ground { standing, refusal: None })),
            Err(Unbound::Trouble(trouble)) => {
                report.fail(trouble.code, with_hint(&trouble));
                Ok(None)
            }
            Err(Unbound::Refused(refusal)) => {
                report.refusal = Some(refusal);
                Ok(None)
            }
        }
    }

    /// Looks at marker and index, and says what a run would be told. Nothing is changed.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn outlook(&self) -> Result<Outlook, Error> {
        let bound = self.index.binding().await?;
        let marker = self.storage.read_marker().await;
        let verdict = match self.heed(marker.clone()) {
            Err(trouble) => RunVerdict::Trouble(Trouble { message: with_hint(&trouble), ..trouble }),
            Ok(seen) => match decide(self.identity, bound, seen, self.index.has_records().await?) {
                Decision::Go(_) | Decision::Bind(_) | Decision::Unchecked => RunVerdict::Go,
                Decision::Refuse(refusal) => RunVerdict::Refused(refusal),
                Decision::Prove(_) => match self.proven().await {
                    Ok(Proven::Enough) => RunVerdict::Go,
                    Ok(Proven::TooFew(refusal, None)) => RunVerdict::Refused(refusal),
                    Ok(Proven::TooFew(_, Some(doubt))) => {
                        RunVerdict::Trouble(Trouble { code: doubt.code(), message: doubt.to_string() })
                    }
                    Err(stop) => RunVerdict::Trouble(Trouble { code: stop.code(), message: stop.to_string() }),
                },
            },
        };
        let is_heard = self.identity == Identity::Marker || matches!(verdict, RunVerdict::Refused(_));
        Ok(Outlook { marker: is_heard.then_some(marker), bound, verdict })
    }

    /// Tells whether a run would be refused for what the marker says, as far as anybody can say.
    pub(super) async fn is_refused(&self) -> bool {
        matches!(self.refusal_by(self.storage.read_marker().await).await, Ok(Some(_)))
    }

    /// Returns why a run would be refused for what this marker says. Nothing where it says nothing, or the records of the
    /// index would have to prove that they are about this storage.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn refusal_by(&self, marker: MarkerState) -> Result<Option<Refusal>, Error> {
        let Ok(seen) = self.heed(marker) else { return Ok(None) };
        let bound = self.index.binding().await?;
        match decide(self.identity, bound, seen, self.index.has_records().await?) {
            Decision::Refuse(refusal) => Ok(Some(refusal)),
            Decision::Go(_) | Decision::Bind(_) | Decision::Prove(_) | Decision::Unchecked => Ok(None),
        }
    }

    /// Reads the marker.
    pub(super) async fn see(&self) -> Result<Seen, Trouble> {
        self.heed(self.storage.read_marker().await)
    }

    /// Takes what counts of a marker: where markers are not asked for, one that does not answer is as good as none.
    fn heed(&self, marker: MarkerState) -> Result<Seen, Trouble> {
        match self.identity {
            Identity::None => Ok(seen_in(marker).unwrap_or(Seen::Absent)),
            Identity::Marker => seen_in(marker),
        }
    }

    /// Returns the storage, with the order that an earlier listing has shown.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) async fn storage_in_order(&self) -> Result<StorageReader, IndexError> {
        Ok(self.storage.clone().with_found_order(self.index.listing_order().await?))
    }

    async fn proven(&self) -> Result<Proven, Stop> {
        let proof = prove(&self.storage_in_order().await?, &self.index).await?;
        if proof.is_enough() {
            return Ok(Proven::Enough);
        }
        Ok(Proven::TooFew(unbound(proof.matched, proof.records), proof.doubt))
    }

    /// Binds the index by `writer`; a run that only looks has none.
    async fn bind(&self, binding: Binding, writer: Option<&Writer>) -> Result<Result<Standing, Unbound>, Error> {
        let id = match (binding, writer) {
            (Binding::Take(id), _) => id,
            (Binding::Mark, None) => return Ok(Ok(Standing::New)),
            // Killed between this and the next line, the next run finds the id and takes it.
            (Binding::Mark, Some(_)) => match self.marker.write(Uuid::now_v7(), clock::now()).await {
                Ok(id) => id,
                Err(MarkerError::Unreadable(trouble) | MarkerError::Redirected(trouble)) => {
                    return Ok(Err(Unbound::Trouble(trouble)));
                }
                // It came there between the look and the write.
                Err(MarkerError::Occupied(what)) => return Ok(Err(Unbound::Refused(unreadable_marker(what, false)))),
                Err(MarkerError::Unwritable(trouble)) => {
                    tracing::warn!(why = trouble.message, "the storage takes no marker: it cannot be known again");
                    return Ok(Ok(Standing::Unmarked(trouble.message)));
                }
            },
        };
        if let Some(writer) = writer {
            writer.bind(id).await?;
        }
        Ok(Ok(Standing::Known(id)))
    }
}

/// Takes what is certain of a marker.
pub(super) fn seen_in(marker: MarkerState) -> Result<Seen, Trouble> {
    match marker {
        MarkerState::Found(id) => Ok(Seen::Id(id)),
        MarkerState::Absent => Ok(Seen::Absent),
        MarkerState::Damaged(what) => Ok(Seen::Damaged(what)),
        MarkerState::Unknown(trouble) => Err(trouble),
    }
}

/// Adds what helps where just the marker is out of reach.
pub(super) fn with_hint(trouble: &Trouble) -> String {
    if !trouble.message.contains("denied") {
        return trouble.message.clone();
    }
    format!("{}; where it has to stay so, set identity = \"none\" (--identity none)", trouble.message)
}
