{{ config(alias='daily_events') }}

with

events as (
    select * from {{ ref('earthquakes__events') }}
)

select
    -- UTC: the events are from everywhere, one common day keeps them comparable.
    cast(occurred_at as date) as day,
    magnitude_band,
    count(*) as events,
    max(magnitude) as max_magnitude,
    avg(depth_km) as mean_depth_km
from events
group by 1, 2
