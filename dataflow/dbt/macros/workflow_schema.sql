{# Where a model's table lies follows from its folder:

       models/<workflow>/staging/…   schema <workflow>_staging
       models/<workflow>/…           schema <workflow>

   A schema that a model or dbt_project.yml names wins, and is taken as it is: dbt's own rule
   would prefix it with the target's schema, and `earthquakes` would be `main_earthquakes` in
   every query and dashboard. #}
{% macro workflow_schema(custom_schema_name, node) -%}
    {%- set folders = node.fqn[1:-1] -%}
    {%- if custom_schema_name -%} {{ custom_schema_name | trim }}
    {%- elif not folders -%} {{ target.schema }}
    {%- elif 'staging' in folders[1:] -%} {{ folders[0] }}_staging
    {%- else -%} {{ folders[0] }}
    {%- endif -%}
{%- endmacro %}
