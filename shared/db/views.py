"""What the database holds beside tables: views, the history trigger, monthly partitions.

These are code, not data: `migrate.upgrade` installs them anew after every change. Column lists
come from the tables, so a column added there is in the history trigger too.
"""

import hashlib

from sqlalchemy import Connection

from shared.db.tables import Feedback

MONTHS_AHEAD = 3

# Recorded exchanges with their latest stars and comment, and the posts that brought an exchange
# with them which nobody recorded: a rated interaction either way.
_INTERACTIONS = """
CREATE VIEW rlhf_interactions AS
SELECT record.id, record.project_id, record.interaction_id, record.session_id, record.agent_name,
       record.user_prompt, record.ai_response, record.model_version, record.context,
       record.consent_training, record."timestamp", record.created_at,
       stars.rating, remark.feedback_comment
FROM rlhf_interaction_records AS record
LEFT JOIN LATERAL (
    SELECT rating FROM rlhf_feedback
    WHERE project_id = record.project_id AND interaction_id = record.interaction_id
      AND step = '' AND rating IS NOT NULL
    ORDER BY "timestamp" DESC, id DESC LIMIT 1
) AS stars ON true
LEFT JOIN LATERAL (
    SELECT comments AS feedback_comment FROM rlhf_feedback
    WHERE project_id = record.project_id AND interaction_id = record.interaction_id
      AND step = '' AND comments IS NOT NULL
    ORDER BY "timestamp" DESC, id DESC LIMIT 1
) AS remark ON true
UNION ALL
SELECT id, project_id, coalesce(interaction_id, feedback_id), session_id, agent_name,
       user_query, agent_response, model_version, context,
       consent_training, "timestamp", created_at, rating, comments
FROM rlhf_feedback AS post
WHERE step = '' AND user_query IS NOT NULL AND agent_response IS NOT NULL
  AND NOT EXISTS (SELECT FROM rlhf_interaction_records AS record
                  WHERE record.project_id = post.project_id
                    AND record.interaction_id = post.interaction_id)
"""
_CHAT_FEEDBACK = """
CREATE VIEW chat_feedback AS
SELECT id, project_id, feedback_id, interaction_id AS chat_id, step_id, step_order,
       rating AS feedback_score, thumbs, comments AS comment, clinician_id AS user_id,
       "timestamp", created_at
FROM rlhf_feedback WHERE interaction_id IS NOT NULL
"""
_ENSURE_PARTITIONS = """
CREATE FUNCTION heed_ensure_partitions(months_ahead int) RETURNS int
LANGUAGE plpgsql SET lock_timeout = '5s' AS $body$
DECLARE
    parent text;
    moment text;
    part text;
    starts timestamptz;
    ends timestamptz;
    is_early boolean;
    silent name;
    made int := 0;
BEGIN
    FOR parent, moment, starts, ends IN
        SELECT kind.parent, kind.moment, month AT TIME ZONE 'UTC',
               (month + interval '1 month') AT TIME ZONE 'UTC'
        FROM (VALUES ('rlhf_audit_log', 'created_at'),
                     ('rlhf_feedback_history', 'superseded_at'),
                     ('rlhf_preferences_history', 'superseded_at')) AS kind (parent, moment),
             generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                             now() AT TIME ZONE 'UTC' + make_interval(months => months_ahead),
                             interval '1 month') AS month
    LOOP
        part := parent || to_char(starts AT TIME ZONE 'UTC', '_YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        -- One maker at a time; neither lock stops writers, who never reach the default partition
        -- while their month has its own.
        EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
        FOR silent IN  -- LIKE leaves out that nothing is to be sampled of a column
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass(parent) AND attnum > 0 AND attstattarget = 0
        LOOP
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS 0', part, silent);
        END LOOP;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= %L AND %I < %L)',
                       parent || '_default', moment, starts, moment, ends) INTO is_early;
        IF is_early THEN  -- rows came before their month did; an append-only log has no DELETE
            EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE %I >= %L AND %I < %L',
                           part, parent || '_default', moment, starts, moment, ends);
            EXECUTE format('CREATE TEMP TABLE heed_kept ON COMMIT DROP AS SELECT * FROM %I '
                           'WHERE %I < %L OR %I >= %L',
                           parent || '_default', moment, starts, moment, ends);
            EXECUTE format('TRUNCATE %I', parent || '_default');
            EXECUTE format('INSERT INTO %I SELECT * FROM heed_kept', parent || '_default');
            DROP TABLE heed_kept;
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       parent, part, starts, ends);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$body$
"""
_DROP_PARTITIONS = """
CREATE FUNCTION heed_drop_partitions(parent text, before timestamptz, even_full boolean)
RETURNS int LANGUAGE plpgsql SET lock_timeout = '5s' AS $body$
DECLARE
    part text;
    is_full boolean;
    dropped int := 0;
BEGIN
    FOR part IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass(parent) AND relname ~ '_[0-9]{4}_[0-9]{2}$'
          AND (to_date(right(relname, 7), 'YYYY_MM') + interval '1 month')
              AT TIME ZONE 'UTC' <= before
        ORDER BY relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', part) INTO is_full;
        CONTINUE WHEN is_full AND NOT even_full;
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, part);
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$body$
"""
_REFUSE_CHANGE = """
CREATE FUNCTION heed_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'The audit log is append-only: % is refused.', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Retention drops whole monthly partitions.';
END
$body$
"""
_AUDIT_ROWS = """
CREATE TRIGGER heed_append_only BEFORE UPDATE OR DELETE ON rlhf_audit_log
FOR EACH ROW EXECUTE FUNCTION heed_refuse_change()
"""
_AUDIT_TABLE = """
CREATE TRIGGER heed_append_only_table BEFORE TRUNCATE ON rlhf_audit_log
FOR EACH STATEMENT EXECUTE FUNCTION heed_refuse_change()
"""


def _keep_history(live: str, history: str, function: str) -> list[str]:
    """The function and trigger that copy a superseded version, column by column."""
    names = [column.name for column in Feedback.metadata.tables[live].columns]
    columns = ", ".join(f'"{name}"' for name in names)
    old = ", ".join(f'OLD."{name}"' for name in names)
    copy = f"INSERT INTO {history} ({columns}, superseded_by, superseded_at) "
    return [
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN "
        f"{copy} VALUES ({old}, NEW.id, now()); RETURN NULL; END $body$",
        f"CREATE TRIGGER heed_keep_history AFTER UPDATE ON {live} FOR EACH ROW "
        f"WHEN (OLD.id IS DISTINCT FROM NEW.id) EXECUTE FUNCTION {function}()",
    ]


_PROGRAMS = [
    *_keep_history("rlhf_feedback", "rlhf_feedback_history", "heed_keep_feedback"),
    *_keep_history("rlhf_preferences", "rlhf_preferences_history", "heed_keep_preference"),
    _REFUSE_CHANGE,
    _AUDIT_ROWS,
    _AUDIT_TABLE,
    _ENSURE_PARTITIONS,
    _DROP_PARTITIONS,
    _CHAT_FEEDBACK,
    _INTERACTIONS,
]
FINGERPRINT = hashlib.sha256("\n".join(_PROGRAMS).encode()).hexdigest()
_VIEWS = ("rlhf_interactions", "chat_feedback")
_FUNCTIONS = (
    "heed_keep_feedback()",
    "heed_keep_preference()",
    "heed_refuse_change()",
    "heed_ensure_partitions(int)",
    "heed_drop_partitions(text, timestamptz, boolean)",
)


def installed(connection: Connection) -> str | None:
    """The hash of the views, functions and triggers the database has; None when it has none."""
    found = connection.exec_driver_sql(
        "SELECT obj_description(to_regclass('rlhf_interactions'), 'pg_class')"
    )
    return found.scalar_one_or_none()


def remove(connection: Connection) -> None:
    """Drop the views, and the functions with their triggers; tables and rows stay."""
    for view in _VIEWS:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
    for function in _FUNCTIONS:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {function} CASCADE")


def install(connection: Connection) -> None:
    """Create them, and remember which they are, in the caller's transaction."""
    for statement in _PROGRAMS:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"COMMENT ON VIEW rlhf_interactions IS '{FINGERPRINT}'")


def ensure_partitions(connection: Connection, months_ahead: int = MONTHS_AHEAD) -> int:
    """How many monthly partitions were made; the current month counts as none ahead."""
    made = connection.exec_driver_sql("SELECT heed_ensure_partitions($1)", (months_ahead,))
    return int(made.scalar_one())
