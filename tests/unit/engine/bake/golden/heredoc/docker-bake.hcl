target "a" {
 dockerfile-inline = <<EOT
FROM x
RUN echo $${A} ${upper("q")}
 EOT
}
target "b" {
 dockerfile-inline = <<-EOT
   FROM x
     RUN y
  EOT
}
