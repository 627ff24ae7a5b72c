{{ config(materialized='view') }}

with

source as (
    select * from {{ source('my_workflow', 'readings') }}
)

select
    sensor,
    cast(measured_at as timestamp) as measured_at,
    cast(temperature_c as double) as temperature_c
from source
