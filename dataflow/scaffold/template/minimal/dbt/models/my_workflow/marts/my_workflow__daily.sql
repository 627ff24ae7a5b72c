{{ config(alias='daily') }}

with

readings as (
    select * from {{ ref('stg_my_workflow__readings') }}
)

select
    cast(measured_at as date) as day,
    sensor,
    count(*) as readings,
    avg(temperature_c) as mean_temperature_c,
    min(temperature_c) as min_temperature_c,
    max(temperature_c) as max_temperature_c
from readings
group by 1, 2
