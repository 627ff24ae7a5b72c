-- No event is lost or counted twice on the way into the aggregates.
with

events as (
    select count(*) as events from {{ ref('earthquakes__events') }}
),

counts as (
    select 'daily_events' as mart, sum(events) as events
    from {{ ref('earthquakes__daily_events') }}

    union all

    select 'regions' as mart, sum(events) as events
    from {{ ref('earthquakes__regions') }}
)

select
    counts.mart,
    counts.events as events_in_mart,
    events.events as events_in_all
from counts
cross join events
where coalesce(counts.events, 0) <> events.events
