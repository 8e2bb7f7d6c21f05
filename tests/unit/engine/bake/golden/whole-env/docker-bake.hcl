variable "TAG" { default = "latest" }
variable "N" { default = 3 }
variable "B" { default = true }
function "inc" { 
 params = [n]
 result = n + 1
}
group "default" { targets = ["web", "d2"] }
target "_common" { 
 args = { V = "1", M=null, N = "${inc(N)}" } 
 labels = { a = "b<&>" }
 shm-size="1g"
 ulimits=["nofile=1:2"]
 no-cache-filter=["a"]
}
target "web" { 
  inherits = ["_common"]
  context = "./web"
  tags = ["me/web:${TAG}"]
  platforms = ["linux/amd64"]
  cache-from = ["type=registry,ref=a/b"]
  output = ["type=docker"]
  
  contexts = { base = "target:db-a-3", a="docker-image://alpine" }
  no-cache = B

}
target "db" { 
  name = "db-${x}-${replace(y, ".", "-")}"
  matrix = { x = ["a","b"], y=["1.2","3"] }
  args = { X = x, Y = y }
  dockerfile-inline = <<EOT
FROM alpine
RUN echo ${x}
EOT
}
group "d2" { targets = ["db"] }
