use crate::names::Names;

/// The types of events that headsup applies. Every other type is kept in the
/// log, counted as ignored, and never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventType {
    /// A conversation began.
    ConversationStarted,
    /// A closed conversation was taken up again.
    ConversationReopened,
    /// Somebody wrote. The role says who.
    ConversationMessage,
    /// The bot gave the conversation to a human.
    ConversationHandedOff,
    /// An agent gave the conversation to another agent or skill.
    ConversationTransferred,
    /// The customer waits for an agent.
    ConversationQueued,
    /// An agent took the conversation.
    ConversationAccepted,
    /// The agent put the customer on hold.
    ConversationHeld,
    /// The hold ended.
    ConversationResumed,
    /// What the conversation is about, as a classifier said.
    ConversationLabelled,
    /// The conversation ended.
    ConversationClosed,
    /// After-contact work ended.
    ConversationWrapped,
    /// The customer left while queued.
    ConversationAbandoned,
    /// The customer rated the service.
    ConversationRated,
    /// An agent became available, went away or offline.
    AgentStateChanged,
    /// An order was placed.
    OrderPlaced,
    /// It was paid.
    OrderPaid,
    /// It left the warehouse.
    OrderShipped,
    /// It arrived.
    OrderDelivered,
    /// It was cancelled, by whom `actor` says.
    OrderCancelled,
    /// The customer asked to return it, wholly or in part.
    OrderReturnRequested,
    /// The goods came back.
    OrderReturned,
    /// Money went back.
    OrderRefunded,
    /// The customer reviewed it.
    OrderReviewed,
    /// The customer agreed to be contacted by a channel, or withdrew.
    CustomerConsentChanged,
    /// An agent has a task before them.
    TaskOffered,
    /// An agent does it.
    TaskAccepted,
    /// An agent does not.
    TaskRejected,
    /// The customer was contacted.
    TaskCompleted,
    /// Somebody has called it off.
    TaskCancelled,
    /// Nothing happened; time has gone on in this partition. Written by headsup
    /// itself into partitions that have gone quiet, so that a replay sees the same.
    Heartbeat,
}

use EventType::*;

impl EventType {
    /// All types, in the order in which events of the same millisecond apply:
    /// a life cycle's earlier step first.
    pub const ALL: [EventType; 31] = [
        ConversationStarted,
        ConversationReopened,
        ConversationMessage,
        ConversationHandedOff,
        ConversationTransferred,
        ConversationQueued,
        ConversationAccepted,
        ConversationHeld,
        ConversationResumed,
        ConversationLabelled,
        ConversationClosed,
        ConversationWrapped,
        ConversationAbandoned,
        ConversationRated,
        AgentStateChanged,
        OrderPlaced,
        OrderPaid,
        OrderShipped,
        OrderDelivered,
        OrderCancelled,
        OrderReturnRequested,
        OrderReturned,
        OrderRefunded,
        OrderReviewed,
        CustomerConsentChanged,
        TaskOffered,
        TaskAccepted,
        TaskRejected,
        TaskCompleted,
        TaskCancelled,
        Heartbeat,
    ];

    /// The CloudEvents `type`.
    pub const fn name(self) -> &'static str {
        match self {
            ConversationStarted => "conversation.started",
            ConversationReopened => "conversation.reopened",
            ConversationMessage => "conversation.message",
            ConversationHandedOff => "conversation.handed_off",
            ConversationTransferred => "conversation.transferred",
            ConversationQueued => "conversation.queued",
            ConversationAccepted => "conversation.accepted",
            ConversationHeld => "conversation.held",
            ConversationResumed => "conversation.resumed",
            ConversationLabelled => "conversation.labelled",
            ConversationClosed => "conversation.closed",
            ConversationWrapped => "conversation.wrapped",
            ConversationAbandoned => "conversation.abandoned",
            ConversationRated => "conversation.rated",
            AgentStateChanged => "agent.state_changed",
            OrderPlaced => "order.placed",
            OrderPaid => "order.paid",
            OrderShipped => "order.shipped",
            OrderDelivered => "order.delivered",
            OrderCancelled => "order.cancelled",
            OrderReturnRequested => "order.return_requested",
            OrderReturned => "order.returned",
            OrderRefunded => "order.refunded",
            OrderReviewed => "order.reviewed",
            CustomerConsentChanged => "customer.consent_changed",
            TaskOffered => "task.offered",
            TaskAccepted => "task.accepted",
            TaskRejected => "task.rejected",
            TaskCompleted => "task.completed",
            TaskCancelled => "task.cancelled",
            Heartbeat => "headsup.heartbeat",
        }
    }

    /// The type of this name, or `None` if headsup does not apply such events.
    #[inline]
    pub fn parse(name: &[u8]) -> Option<Self> {
        static NAMES: Names<{ EventType::ALL.len() }> = {
            let mut names = [""; EventType::ALL.len()];
            let mut place = 0;
            while place < names.len() {
                names[place] = EventType::ALL[place].name();
                place += 1;
            }
            Names::new(names)
        };
        NAMES.find(name, 0, name.len()).map(|place| Self::ALL[place])
    }

    /// Whether it is about a conversation.
    pub fn is_conversation(self) -> bool {
        self <= ConversationRated
    }

    /// Whether it is about an order.
    pub fn is_order(self) -> bool {
        (OrderPlaced..=OrderReviewed).contains(&self)
    }

    /// Whether it is about a task.
    pub fn is_task(self) -> bool {
        (TaskOffered..=TaskCancelled).contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name_and_listed_once() {
        for (code, kind) in EventType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, code);
            assert_eq!(EventType::parse(kind.name().as_bytes()), Some(kind));
        }
        assert_eq!(EventType::parse(b"conversation.closed.v2"), None);
    }
}
