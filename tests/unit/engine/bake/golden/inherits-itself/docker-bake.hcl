target "default" {
 inherits = ["default"]
}
