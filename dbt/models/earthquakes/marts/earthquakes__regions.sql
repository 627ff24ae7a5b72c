{{ config(alias='regions') }}

with

events as (
    select * from {{ ref('earthquakes__events') }}
)

select
    region,
    count(*) as events,
    max(magnitude) as max_magnitude,
    avg(magnitude) as mean_magnitude,
    max(occurred_at) as last_event_at
from events
group by region
