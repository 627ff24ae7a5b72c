{{ config(alias='largest_events') }}

with

events as (
    select * from {{ ref('earthquakes__events') }}
),

ranked as (
    select
        -- Equal magnitudes are common (one decimal); the later event goes first, and the id
        -- keeps the order the same from run to run.
        row_number() over (
            order by magnitude desc, occurred_at desc, event_id asc
        ) as rank,
        *
    from events
)

select
    rank,
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
from ranked
where rank <= 50
