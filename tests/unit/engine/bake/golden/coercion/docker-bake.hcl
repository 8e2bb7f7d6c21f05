target "default" {
 tags = [1, true, 1.5, 1e3]
 args = { a = 1, b = true, c = null , d = 10/4, f=1e21}
 context = 3
 no-cache = "true"
}
