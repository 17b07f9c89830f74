"""MUVA: multi-grained vision-language alignment for domain-generalised person re-identification."""
