"""Event names, and which of them are a reason to look at the object.

Whatever may have changed the bytes is one; so is a name that nobody knows yet. What certainly left
them alone is not: tags, ACLs, retention, reads, restores, moves between storage classes.
"""

from schemas.events import EventKind

_PREFIX = "s3:"

_CREATED = ("ObjectCreated:", "ObjectSynced:Create", "Replication:Create")
_REMOVED = (
    "ObjectRemoved:",
    "LifecycleExpiration:",
    "LifecycleDelMarkerExpiration:",
    "ObjectLifecycle:Expiration:",
    "ObjectSynced:Delet",
    "Replication:Delet",
    "ReducedRedundancyLostObject",
)
_NO_WORK = (
    # MinIO counts these among ObjectCreated:*.
    "ObjectCreated:PutTagging",
    "ObjectCreated:DeleteTagging",
    "ObjectCreated:PutRetention",
    "ObjectCreated:PutLegalHold",
    "ObjectTagging:",
    "ObjectAcl:",
    "ObjectRestore:",
    "ObjectAccessed:",
    "ObjectTransition:",
    "LifecycleTransition",
    "IntelligentTiering",
    "ObjectLifecycle:Transition:",
    # Ceph: a multipart upload that was never completed was never an object.
    "ObjectLifecycle:Expiration:Abort",
    # About the copy elsewhere, not about this object.
    "Replication:Operation",
    "Scanner:",
    "BucketCreated:",
    "BucketRemoved:",
    "TestEvent",
)

_EVENTBRIDGE = {
    "Object Created": EventKind.CREATED,
    "Object Deleted": EventKind.REMOVED,
    "Object Restore Initiated": None,
    "Object Restore Completed": None,
    "Object Restore Expired": None,
    "Object Storage Class Changed": None,
    "Object Access Tier Changed": None,
    "Object ACL Updated": None,
    "Object Tags Added": None,
    "Object Tags Deleted": None,
}


def meaning_of(name: str) -> EventKind | None:
    """What an S3 event name says, with or without `s3:`; None where it is no reason to look."""
    name = name.removeprefix(_PREFIX)
    if name.startswith(_NO_WORK):
        return None
    if name.startswith(_CREATED):
        return EventKind.CREATED
    if name.startswith(_REMOVED):
        return EventKind.REMOVED
    return EventKind.UNKNOWN


def meaning_of_detail_type(detail_type: str) -> EventKind | None:
    """What an EventBridge detail-type says; None where it is no reason to look."""
    return _EVENTBRIDGE.get(detail_type, EventKind.UNKNOWN)
