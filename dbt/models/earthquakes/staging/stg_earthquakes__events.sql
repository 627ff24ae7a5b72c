{{ config(materialized='view') }}

with

source as (
    select * from {{ source('earthquakes', 'events_clean') }}
),

renamed as (
    select
        -- ids
        event_id,

        -- times
        occurred_at,
        updated_at,
        local_day,

        -- strength
        magnitude,
        magnitude_band,
        magnitude_type,
        cast(significance as integer) as significance,

        -- place
        place,
        region,
        latitude,
        longitude,
        depth_km,

        -- flags
        status = 'reviewed' as is_reviewed,
        tsunami = 1 as has_tsunami_flag,

        -- links
        url
    from source
)

select * from renamed
