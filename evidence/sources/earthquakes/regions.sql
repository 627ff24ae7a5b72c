-- The choices of the region filter, the busiest first.
select
    region,
    events,
from earthquakes.regions
order by events desc, region
