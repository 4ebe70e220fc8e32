"""How each service is wired into a process. One module a service, so that an image needs only its own libraries."""
