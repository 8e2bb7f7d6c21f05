"""Which steps were done before: build keys and the layers that they gave."""
