{{ config(alias='events') }}

with

events as (
    select * from {{ ref('stg_earthquakes__events') }}
)

select
    event_id,
    occurred_at,
    local_day,
    magnitude,
    magnitude_band,
    magnitude_type,
    place,
    region,
    latitude,
    longitude,
    depth_km,
    significance,
    is_reviewed,
    has_tsunami_flag,
    url
from events
